// Shares a kernel's work among threads; takes the place of TVM's pool in a region library.
//
// TVM gives each thread its share and waits for all of them, so that a call takes as long as the
// thread that the system lets run last. Here a kernel is a number of parts, which whoever runs
// takes: the caller does all of them if no other thread is awake. Each thread begins with parts of
// its own, the same in every call, so that what they read may still be in its cache.
//
// Linux only (futex). The code is C, as far as possible: the standard library would take ten times
// as long to compile.
#include <dlfcn.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <tvm/ffi/c_api.h>
#include <tvm/runtime/c_backend_api.h>
#include <unistd.h>

extern "C" {

// TVM's code calls this variable; a library without threads does not have it.
extern decltype(&TVMBackendParallelLaunch) __TVMBackendParallelLaunch __attribute__((weak));

// This library's function of the name in Python.
__attribute__((visibility("default"))) int __tvm_ffi_dyncc_threads(void*, const TVMFFIAny*,
                                                                   int32_t, TVMFFIAny*);
}

namespace {

// Parts for each thread: what a thread that comes late leaves to others is a part of its share.
constexpr int kParts = 4;
// How long a thread looks for work before it sleeps: the serial kernels between two others, or the
// host code between two regions, take about as long.
constexpr int64_t kSpin = 100 * 1000;  // nanoseconds
// How often the caller looks whether the others are done before it lets something else run.
constexpr int kLooks = 20 * 1000;
constexpr int kMost = 256;  // threads

constexpr uint32_t kOpen = 1, kInside = 2;  // of Pool::gate

// Those that write here share no line of the cache with others.
struct alignas(128) Share {
  int32_t next;
  int32_t end;
};

struct Pool {
  // Of all launches.
  alignas(128) int32_t threads;  // with the caller
  int32_t started;               // threads that exist, with the caller
  int32_t busy;                  // a launch is going on
  // Of this launch; read by those that are inside, while no other can begin.
  FTVMParallelLambda task;
  void* closure;
  int32_t failed;
  int32_t processor;  // that the caller runs on
  // How many launches there have been: those that wait look at this, and sleep by it.
  alignas(128) uint32_t launches;
  alignas(128) int32_t asleep;
  // Whether there may be parts left, and kInside for each thread that looks for some.
  alignas(128) uint32_t gate;
  Share shares[kMost];
};

Pool pool;

inline void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
}

// Does parts until none are left: its own first, then those of the others.
void work(int self) {
  const int threads = pool.threads;
  TVMParallelGroupEnv group = {nullptr, threads * kParts};
  for (int turn = 0; turn < threads; ++turn) {
    Share& share = pool.shares[(self + turn) % threads];
    while (__atomic_load_n(&share.next, __ATOMIC_RELAXED) < share.end) {
      const int part = __atomic_fetch_add(&share.next, 1, __ATOMIC_RELAXED);
      if (part >= share.end) break;
      if (pool.task(part, &group, pool.closure) != 0) {
        __atomic_store_n(&pool.failed, 1, __ATOMIC_RELAXED);
      }
    }
  }
}

// The launch after those that were seen.
uint32_t next_launch(uint32_t seen) {
  const int64_t end = now() + kSpin;
  do {
    for (int look = 0; look < 32; ++look) {
      const uint32_t found = __atomic_load_n(&pool.launches, __ATOMIC_ACQUIRE);
      if (found != seen) return found;
      pause_briefly();
    }
    // Nobody gains by a thread that looks for work where the one runs that has some.
  } while (now() < end && sched_getcpu() != __atomic_load_n(&pool.processor, __ATOMIC_RELAXED));
  // Either this thread is seen to sleep by the next launch, or it sees that launch.
  __atomic_fetch_add(&pool.asleep, 1, __ATOMIC_SEQ_CST);
  uint32_t found;
  while ((found = __atomic_load_n(&pool.launches, __ATOMIC_SEQ_CST)) == seen) {
    syscall(SYS_futex, &pool.launches, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
  }
  __atomic_fetch_sub(&pool.asleep, 1, __ATOMIC_SEQ_CST);
  return found;
}

void* serve(void* number) {
  const int self = static_cast<int>(reinterpret_cast<intptr_t>(number));
  uint32_t seen = 0;
  while (true) {
    seen = next_launch(seen);
    uint32_t gate = __atomic_load_n(&pool.gate, __ATOMIC_RELAXED);
    bool inside = false;
    while ((gate & kOpen) && !inside) {
      inside = __atomic_compare_exchange_n(&pool.gate, &gate, gate + kInside, false,
                                           __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    if (!inside) continue;  // it is over
    work(self);
    __atomic_fetch_sub(&pool.gate, kInside, __ATOMIC_RELEASE);
  }
  return nullptr;
}

void start() {
  // Signals are for the threads of the program.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (int number = pool.started; number < pool.threads; ++number) {
    pthread_t thread;
    void* self = reinterpret_cast<void*>(static_cast<intptr_t>(number));
    if (pthread_create(&thread, nullptr, serve, self) != 0) break;
    pthread_setname_np(thread, "dyncc");
    pthread_detach(thread);
  }
  // Those that could not be made are not tried again: the others do their parts.
  pool.started = pool.threads;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// A process that was forked has none of the threads.
void forget() {
  pool.started = 1;
  pool.busy = 0;
  pool.asleep = 0;
  pool.gate = 0;
}

int alone(FTVMParallelLambda task, void* closure) {
  TVMParallelGroupEnv group = {nullptr, 1};
  return task(0, &group, closure);
}

// Stands for TVMBackendParallelLaunch; how many parts there are is never said by the code that
// schedules make.
int launch(FTVMParallelLambda task, void* closure, int parts) {
  if (parts != 0 && parts != 1) return TVMBackendParallelLaunch(task, closure, parts);
  if (parts == 1 || pool.threads == 1) return alone(task, closure);
  // Another thread of the program is here, or this is a part that launches.
  if (__atomic_exchange_n(&pool.busy, 1, __ATOMIC_ACQUIRE)) return alone(task, closure);
  if (pool.started < pool.threads) start();
  pool.task = task;
  pool.closure = closure;
  pool.failed = 0;
  __atomic_store_n(&pool.processor, sched_getcpu(), __ATOMIC_RELAXED);
  for (int number = 0; number < pool.threads; ++number) {
    pool.shares[number].next = number * kParts;
    pool.shares[number].end = (number + 1) * kParts;
  }
  __atomic_store_n(&pool.gate, kOpen, __ATOMIC_RELEASE);
  __atomic_fetch_add(&pool.launches, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&pool.asleep, __ATOMIC_SEQ_CST) > 0) {
    syscall(SYS_futex, &pool.launches, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }
  work(0);
  uint32_t gate = __atomic_and_fetch(&pool.gate, ~kOpen, __ATOMIC_ACQ_REL);
  for (int look = 0; gate != 0; gate = __atomic_load_n(&pool.gate, __ATOMIC_ACQUIRE)) {
    if (++look < kLooks) {
      pause_briefly();
    } else {
      sched_yield();
    }
  }
  const int failed = pool.failed;
  __atomic_store_n(&pool.busy, 0, __ATOMIC_RELEASE);
  if (failed) {
    TVMFFIErrorSetRaisedFromCStr("RuntimeError", "a part of a kernel failed");
    return -1;
  }
  return 0;
}

// Threads outlive the module that they came with.
bool stay() {
  Dl_info here;
  if (dladdr(reinterpret_cast<void*>(&launch), &here) == 0) return false;
  return dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) != nullptr;
}

}  // namespace

// dyncc_threads(threads, launcher) -> launcher
//
// Let the kernels of this library use the pool of another one, or of this one if `launcher` is 0.
// Returns what to give to other libraries, 0 if the pool cannot be used.
int __tvm_ffi_dyncc_threads(void*, const TVMFFIAny* args, int32_t count, TVMFFIAny* result) {
  if (count != 2 || args[0].type_index != kTVMFFIInt || args[1].type_index != kTVMFFIInt) {
    TVMFFIErrorSetRaisedFromCStr("TypeError", "dyncc_threads takes two numbers");
    return -1;
  }
  auto launcher = reinterpret_cast<decltype(&launch)>(args[1].v_int64);
  if (launcher == nullptr && stay()) {
    const int64_t threads = args[0].v_int64;
    pool.threads = static_cast<int32_t>(threads < 1 ? 1 : threads > kMost ? kMost : threads);
    pool.started = 1;
    pthread_atfork(nullptr, nullptr, forget);
    launcher = &launch;
  }
  if (launcher != nullptr && &__TVMBackendParallelLaunch != nullptr) {
    __TVMBackendParallelLaunch = launcher;
  }
  result->type_index = kTVMFFIInt;
  result->zero_padding = 0;
  result->v_int64 = reinterpret_cast<int64_t>(launcher);
  return 0;
}
