/* What a session does in a process that forks, profiles itself or has little room.
 *
 *   guest fork MODEL       forks with a session at rest and in the middle of runs
 *   guest reopen MODEL     forks while another thread opens and closes sessions
 *   guest profile MODEL    the timer of a profiler, which the calling thread blocks
 *   guest narrow MODEL     opens and runs on a thread with the smallest stack
 *   guest rounding MODEL   opens and runs where the caller rounds up, flushes and traps
 *   guest cancel MODEL     runs on a thread that has been cancelled
 *   guest affinity MODEL   counts the CPUs of a process that is bound to one
 *
 * A child that hangs is ended by its alarm. */
#define _GNU_SOURCE
#include <fenv.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform.h"
#include "subject.h"

enum { THREADS = 3, FORKS = 25, RUNS = 20, PATIENCE_S = 20, NAP_US = 2000 /* longer than idle threads spin */ };

static subject tested;
static es_output outputs[2]; /* allocated before any fork: a child of threads must not allocate */
static atomic_bool done;

static es_session *open_session(void)
{
    es_error error;
    es_session *session;
    require(es_session_open(tested.model, THREADS, &session, &error) == ES_OK, error.message);
    return session;
}

static void require_refusal(es_session *inherited)
{
    uint64_t step_ns[64];
    es_error error;
    require(run_subject(&tested, inherited, outputs, &error) == ES_ERR_FORKED,
            "a run of an inherited session is not refused");
    require(strstr(error.message, "forked") != NULL, error.message);
    require(tested.info.step_count <= 64 &&
                es_session_profile(inherited, tested.inputs, tested.info.input_count, outputs,
                                   tested.info.output_count, step_ns, NULL) == ES_ERR_FORKED,
            "a profile of an inherited session is not refused");
}

static void wait_for(pid_t child)
{
    int status = 0;
    require(child > 0 && waitpid(child, &status, 0) == child, "no child");
    require(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM, "a child hangs");
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed");
}

/* Forks a child that inherits `session`, and one of that child that inherits two. */
static void fork_family(es_session *session)
{
    const pid_t child = fork();
    if (child != 0) {
        wait_for(child);
        return;
    }
    alarm(PATIENCE_S);
    require_refusal(session);
    es_session *const own = open_session();
    require_run(&tested, own, outputs);
    const pid_t grandchild = fork();
    if (grandchild != 0) {
        wait_for(grandchild);
        require_run(&tested, own, outputs);
    } else {
        alarm(PATIENCE_S);
        require_refusal(session);
        require_refusal(own);
    }
    es_session_close(session);
    es_session_close(own);
    es_model_close(tested.model);
    _exit(0);
}

static void *keep_running(void *session)
{
    static es_output other_outputs[2];
    make_outputs(&tested, other_outputs);
    while (!atomic_load(&done)) {
        require_run(&tested, session, other_outputs);
    }
    return NULL;
}

static void *keep_reopening(void *argument)
{
    while (!atomic_load(&done)) {
        es_session_close(open_session());
    }
    return argument;
}

static void fork_beside(void *(*other)(void *), es_session *session)
{
    pthread_t thread;
    require(pthread_create(&thread, NULL, other, session) == 0, "no thread");
    for (int i = 0; i < FORKS; i++) {
        usleep((useconds_t)(i * 37 % 11) * 100);
        fork_family(session);
    }
    atomic_store(&done, true);
    pthread_join(thread, NULL);
}

static void fork_at_rest(es_session *session)
{
    usleep(NAP_US); /* the workers sleep, and the condition has waiters that a child never wakes */
    fork_family(session);
    require_run(&tested, session, outputs);
}

static atomic_long profiled;

static void on_profile(int number)
{
    (void)number;
    atomic_store(&profiled, (long)syscall(SYS_gettid));
}

static void profile(es_session *session)
{
    const struct itimerval every = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000};
    struct sigaction action = {.sa_handler = on_profile, .sa_flags = SA_RESTART};
    sigset_t timer;
    sigemptyset(&timer);
    sigaddset(&timer, SIGPROF);
    pthread_sigmask(SIG_BLOCK, &timer, NULL);
    require(sigaction(SIGPROF, &action, NULL) == 0, "no handler");
    require(setitimer(ITIMER_PROF, &every, NULL) == 0, "no timer");
    alarm(PATIENCE_S);
    while (atomic_load(&profiled) == 0) {
        require_run(&tested, session, outputs);
    }
    require(atomic_load(&profiled) != (long)getpid(), "the calling thread took the signal");
}

static void *use_once(void *path)
{
    es_error error;
    es_model *model;
    es_session *session;
    require(es_model_open_file(path, ES_OPEN_VERIFY_WEIGHTS, &model, &error) == ES_OK, error.message);
    require(es_session_open(model, THREADS, &session, &error) == ES_OK, error.message);
    require_run(&tested, session, outputs);
    es_session_close(session);
    es_model_close(model);
    return NULL;
}

static void run_narrow(char *path)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    require(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN) == 0, "no such stack");
    require(pthread_create(&thread, &attributes, use_once, path) == 0, "no thread");
    pthread_join(thread, NULL);
}

static void run_rounding(es_session *session)
{
    fesetround(FE_UPWARD);
    feenableexcept(FE_ALL_EXCEPT);
    const uint32_t mode = es_float_mode();
    es_session *const own = open_session(); /* its workers inherit the mode */
    for (int i = 0; i < RUNS; i++) {
        require_run(&tested, session, outputs);
        require_run(&tested, own, outputs);
    }
    es_session_close(own);
    require(es_float_mode() == mode, "the caller's mode is lost");
    fesetenv(FE_DFL_ENV);
}

static void *run_cancelled(void *session)
{
    pthread_cancel(pthread_self());
    require_run(&tested, session, outputs);
    atomic_store(&done, true);
    pthread_testcancel();
    return NULL;
}

static void cancel(es_session *session)
{
    pthread_t thread;
    void *result;
    require(pthread_create(&thread, NULL, run_cancelled, session) == 0, "no thread");
    pthread_join(thread, &result);
    require(result == PTHREAD_CANCELED && atomic_load(&done), "a run was cancelled");
    require_run(&tested, session, outputs);
}

static void count_cpus(void)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    require(sched_setaffinity(0, sizeof one, &one) == 0, "not bound");
    require(es_cpu_count() == 1, "CPUs count that the process may not use");
}

int main(int count, char **arguments)
{
    if (count != 3) {
        return 2;
    }
    const char *const command = arguments[1];
    open_subject(&tested, arguments[2]);
    make_outputs(&tested, outputs);
    es_session *const session = open_session();
    if (strcmp(command, "fork") == 0) {
        fork_at_rest(session);
        fork_beside(keep_running, session);
    } else if (strcmp(command, "reopen") == 0) {
        fork_beside(keep_reopening, session);
    } else if (strcmp(command, "profile") == 0) {
        profile(session);
    } else if (strcmp(command, "narrow") == 0) {
        run_narrow(arguments[2]);
    } else if (strcmp(command, "rounding") == 0) {
        run_rounding(session);
    } else if (strcmp(command, "cancel") == 0) {
        cancel(session);
    } else if (strcmp(command, "affinity") == 0) {
        count_cpus();
    } else {
        return 2;
    }
    es_session_close(session);
    es_model_close(tested.model);
    return 0;
}
