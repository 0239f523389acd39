/* esrun --serve: an artifact is opened, run and timed by requests over a pipe. */
#ifndef SERVE_H
#define SERVE_H

/* Prints {"esrun": VERSION}, and answers requests on stdin, one line of JSON each, until there are no more
 * or one says to quit. Tensors follow the line that says how many bytes each has; so they do behind an
 * answer.
 *
 *   {"do": "open", "artifact": PATH, "threads": N, "cores": [N, ...], "lock": PATH, "owner": TEXT}
 *                                                    -> {"plan": N, "inputs": [...], "outputs": [...]}
 *   {"do": "run", "bytes": [N, ...]} and inputs      -> {"bytes": [N, ...]} and outputs
 *   {"do": "time", "repeat": N}                      -> {"ns": [N, ...]}
 *   {"do": "profile", "repeat": N}                   -> {"steps": [...], "ns": [[N, ...], ...]}
 *   {"do": "measure", "milliseconds": N, "every_us": N, "meter": NAME, "root": PATH}
 *                         -> {"share": S}, now and then; at the end what profile_report.h says
 *   {"do": "meters"}                                 -> {"peak_bytes": N, ...}
 *   {"do": "bandwidth", "bytes": N, "threads": N, "milliseconds": N, "cores": [N, ...], "lock": PATH, "owner": TEXT}
 *                                                    -> {"bytes_per_s": N}
 *   {"do": "quit"}
 *
 * `cores` of `open` are the CPUs that this process, with all of its threads, runs on until the next `open`; without
 * them it may run where it could when it started. `time`, `profile` and `measure` run the inputs of the last
 * `run`, once uncounted and then `repeat` times; with a `lock`, a file, only if no other owner has it, and
 * until the artifact is closed. `bandwidth` is of the main memory where the buffer of so many bytes is larger
 * than all caches: thread i reads its part of it on core i of the list, over and over, and the fastest time
 * that all of them took counts. It needs no artifact, and keeps its lock. What fails is answered by
 * {"error": TEXT, "status": NAME}.
 * Returns the exit status of the program. */
int serve(void);

#endif
