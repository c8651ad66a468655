# LibTorch from the torch wheel, as the target `torch`. It is put together here and not by the wheel's own package files:
# those of a CUDA build demand a whole CUDA toolkit with the development files of cuBLAS, cuDNN and more, while the wheel's
# libraries find all of that by themselves, and a build with LORICA_CUDA=off needs none of it.
execute_process(COMMAND "${LORICA_PYTHON}" -c
  "import os, torch; print(os.path.dirname(torch.__file__)); print(torch.__version__); print(torch.version.cuda or 'none')"
  OUTPUT_VARIABLE torch_facts OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE torch_status)
if(NOT torch_status EQUAL 0)
  message(FATAL_ERROR "torch is not importable by ${LORICA_PYTHON}. Run `make setup`, or pass -DLORICA_PYTHON=…")
endif()
string(REPLACE "\n" ";" torch_facts "${torch_facts}")
list(GET torch_facts 0 LORICA_TORCH_FOLDER)
list(GET torch_facts 1 LORICA_TORCH_VERSION)
list(GET torch_facts 2 LORICA_TORCH_CUDA) # "13.0", or "none"
string(REGEX MATCH "^[0-9.]+" torch_number "${LORICA_TORCH_VERSION}")
message(STATUS "LibTorch ${LORICA_TORCH_VERSION} (CUDA: ${LORICA_TORCH_CUDA}) in ${LORICA_TORCH_FOLDER}")
if(torch_number VERSION_LESS 2.11 OR torch_number VERSION_GREATER_EQUAL 2.14)
  message(WARNING "Lorica is tested with torch 2.11 to 2.13; this is ${LORICA_TORCH_VERSION}")
endif()

# lorica_torch_library(NAME): one of the wheel's libraries as the target lorica_torch_NAME.
function(lorica_torch_library name)
  find_library(file ${name} PATHS "${LORICA_TORCH_FOLDER}/lib" NO_DEFAULT_PATH REQUIRED NO_CACHE)
  add_library(lorica_torch_${name} SHARED IMPORTED GLOBAL)
  set_target_properties(lorica_torch_${name} PROPERTIES IMPORTED_LOCATION "${file}")
endfunction()

if(NOT EXISTS "${LORICA_TORCH_FOLDER}/include/ATen/ATen.h")
  message(FATAL_ERROR "${LORICA_TORCH_FOLDER} has no C++ headers: install torch from its wheel (`make setup` does)")
endif()
lorica_torch_library(torch_cpu)
lorica_torch_library(c10)
add_library(torch INTERFACE IMPORTED GLOBAL)
# The definitions are those that the wheel's own c10d was compiled with.
set_target_properties(torch PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${LORICA_TORCH_FOLDER}/include;${LORICA_TORCH_FOLDER}/include/torch/csrc/api/include"
  INTERFACE_COMPILE_DEFINITIONS "USE_C10D_GLOO;USE_DISTRIBUTED;USE_RPC;USE_TENSORPIPE"
  INTERFACE_LINK_LIBRARIES "lorica_torch_torch_cpu;lorica_torch_c10")
set(LORICA_TORCH_LIBRARIES "${LORICA_TORCH_FOLDER}/lib")
