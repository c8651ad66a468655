# Compiler flags, linker, compiler cache and sanitizers, all carried by the interface target lorica_flags.
find_program(LORICA_CCACHE ccache)
if(LORICA_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness settings are what ccache asks for when precompiled headers are in use; the base folder lets
  # all build folders and checkouts share what was compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${LORICA_CCACHE})
endif()

add_library(lorica_flags INTERFACE)
target_include_directories(lorica_flags INTERFACE "${CMAKE_SOURCE_DIR}/src")
# For C++ only: nvcc has words of its own (LoricaLayer.cmake).
function(lorica_cxx_flags)
  target_compile_options(lorica_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${ARGN}>")
endfunction()
lorica_cxx_flags(-Wall -Wextra -Werror -fno-strict-aliasing)
# GCC 12 warns of copies inside std::string that cannot happen (GCC bugs 105651, 105329).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  lorica_cxx_flags(-Wno-restrict -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread)
endif()
if(LORICA_CCACHE)
  lorica_cxx_flags(-fpch-preprocess)
endif()

# The portable baseline; a source file named *_avx2.cpp or *_avx512.cpp gets its own instruction set (LoricaLayer.cmake).
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  lorica_cxx_flags(-march=x86-64-v2)
endif()

find_program(LORICA_MOLD mold)
if(LORICA_MOLD)
  target_link_options(lorica_flags INTERFACE -fuse-ld=mold)
endif()

set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
if(LORICA_SANITIZE)
  lorica_cxx_flags(-Wno-maybe-uninitialized) # GCC sees ghosts in instrumented code
endif()
if(LORICA_SANITIZE STREQUAL "address")
  lorica_cxx_flags(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(lorica_flags INTERFACE -fsanitize=address,undefined)
elseif(LORICA_SANITIZE STREQUAL "thread")
  lorica_cxx_flags(-fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(lorica_flags INTERFACE -fsanitize=thread)
elseif(LORICA_SANITIZE)
  message(FATAL_ERROR "LORICA_SANITIZE must be empty, address or thread, not '${LORICA_SANITIZE}'")
endif()
