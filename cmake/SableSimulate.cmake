# sable-simulate: drivers and harness compiled for SimGrid's SMPI, kernels replaced (simulate/stand_in.h). In a build folder of
# its own. A serial HDF5 is needed, as another MPI's parallel one can't be in the same process.
find_program(SABLE_SMPICC smpicc REQUIRED)
set(MPI_C_COMPILER ${SABLE_SMPICC})
set(HDF5_PREFER_PARALLEL FALSE)
if(NOT HDF5_C_COMPILER_EXECUTABLE)
  find_program(SABLE_SERIAL_H5CC h5cc REQUIRED)
  set(HDF5_C_COMPILER_EXECUTABLE ${SABLE_SERIAL_H5CC})
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# Every function __wrap_f that simulate/ defines takes the place of f.
function(sable_add_simulation)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/simulate/*.c)
  foreach(source ${sources})
    file(STRINGS ${source} lines REGEX "^STAND_IN\\([A-Za-z0-9_]+\\);")
    foreach(line ${lines})
      string(REGEX REPLACE "^STAND_IN\\(([A-Za-z0-9_]+)\\);.*" "\\1" name "${line}")
      list(APPEND wraps "LINKER:--wrap=${name}")
    endforeach()
  endforeach()
  add_library(sable-simulate MODULE ${sources}) # smpirun loads it
  set_target_properties(sable-simulate PROPERTIES PREFIX "" SUFFIX "")
  # SimGrid's own malloc macro would rename members called `free`.
  target_compile_definitions(sable-simulate PRIVATE SMPI_NO_OVERRIDE_MALLOC)
  target_include_directories(sable-simulate PRIVATE simulate)
  target_link_libraries(sable-simulate PRIVATE sable_harness)
  target_link_options(sable-simulate PRIVATE ${wraps})
endfunction()
