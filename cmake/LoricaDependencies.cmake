# Finds every library that Lorica links. An optional one (Arrow) becomes an empty list when it is
# missing, and the configure log says which feature that turns off.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(YAML_CPP REQUIRED IMPORTED_TARGET yaml-cpp)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# Python that holds torch (and pyarrow): an explicit one, the project's .venv, or whatever is active.
if(NOT LORICA_PYTHON)
  if(EXISTS "${CMAKE_SOURCE_DIR}/.venv/bin/python")
    set(LORICA_PYTHON "${CMAKE_SOURCE_DIR}/.venv/bin/python")
  else()
    find_program(LORICA_PYTHON NAMES python3 python REQUIRED)
  endif()
endif()
message(STATUS "Python for LibTorch and Arrow: ${LORICA_PYTHON}")

include(LoricaTorch)
include(LoricaCuda)

# The wheel carries headers of its own copy of fmt, which would hide the system's, the one that spdlog is built with.
find_path(LORICA_FMT_INCLUDE fmt/format.h PATHS /usr/include NO_CMAKE_PATH REQUIRED)
file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/system_include")
file(CREATE_LINK "${LORICA_FMT_INCLUDE}/fmt" "${CMAKE_BINARY_DIR}/system_include/fmt" SYMBOLIC)
target_include_directories(lorica_flags BEFORE INTERFACE "${CMAKE_BINARY_DIR}/system_include")

# pyarrow ships Arrow's headers and libraries: no system Arrow is needed to read Parquet.
set(LORICA_ARROW "")
execute_process(COMMAND "${LORICA_PYTHON}" -c
  "import pyarrow as p; print(p.get_include()); print(p.get_library_dirs()[0]); print(p.__version__.split('.')[0])"
  OUTPUT_VARIABLE arrow_facts OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE arrow_status ERROR_QUIET)
if(arrow_status EQUAL 0)
  string(REPLACE "\n" ";" arrow_facts "${arrow_facts}")
  list(GET arrow_facts 0 arrow_include)
  list(GET arrow_facts 1 arrow_lib_dir)
  list(GET arrow_facts 2 arrow_major)
  foreach(part arrow parquet)
    add_library(lorica_${part}_import SHARED IMPORTED)
    set_target_properties(lorica_${part}_import PROPERTIES
      IMPORTED_LOCATION "${arrow_lib_dir}/lib${part}.so.${arrow_major}00"
      INTERFACE_INCLUDE_DIRECTORIES "${arrow_include}"
      INTERFACE_COMPILE_DEFINITIONS LORICA_HAS_ARROW=1)
    list(APPEND LORICA_ARROW lorica_${part}_import)
  endforeach()
else()
  message(STATUS "pyarrow not found: reading Parquet files is turned off (pip install pyarrow)")
endif()

# The wheel has c10d's Gloo process group, but not Gloo's headers, which the group's own header includes.
find_path(LORICA_GLOO_INCLUDE gloo/transport/device.h)
if(LORICA_GLOO_INCLUDE)
  message(STATUS "Gloo's headers: ${LORICA_GLOO_INCLUDE}")
else()
  message(STATUS "Gloo's headers not found: runs of several processes are turned off (apt-get install libgloo-dev)")
endif()

if(LORICA_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
endif()
if(LORICA_BENCH)
  find_package(benchmark REQUIRED)
endif()

# RPATH to LibTorch and Arrow, so that build/lorica and an installed one run as they are. Named here, because CMake leaves
# out folders inside the project, where .venv lies.
set(CMAKE_INSTALL_RPATH "${LORICA_TORCH_LIBRARIES}" ${arrow_lib_dir})
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
