# cmake -DBUILD=… -DSOURCE=… -P run.cmake: installs, then configures, builds and runs the consumer.
set(prefix ${BUILD}/tests/package/prefix)
set(work ${BUILD}/tests/package/work)
file(REMOVE_RECURSE ${prefix} ${work})
foreach(command
    "${CMAKE_COMMAND}|--install|${BUILD}|--prefix|${prefix}"
    "${CMAKE_COMMAND}|-S|${SOURCE}/tests/package|-B|${work}|-DCMAKE_PREFIX_PATH=${prefix}|-DCMAKE_C_COMPILER=${COMPILER}"
    "${CMAKE_COMMAND}|--build|${work}"
    "${work}/consumer"
    "${prefix}/bin/sable|--version")
  string(REPLACE "|" ";" command "${command}")
  execute_process(COMMAND ${command} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    message(FATAL_ERROR "${command} failed (${failed}):\n${output}")
  endif()
endforeach()
