// ThreadSanitizer does not see how GNU OpenMP's threads wait for each other, for that library is not
// compiled with it.  Linked with -Wl,--wrap=GOMP_parallel, this tells it the two facts that OpenMP
// promises: a parallel region begins after what was before it, and what follows it, after its end.
typedef void (*Function)(void *);

extern "C" {
void __tsan_acquire(void *);
void __tsan_release(void *);
void __real_GOMP_parallel(Function, void *, unsigned, unsigned);
void __wrap_GOMP_parallel(Function, void *, unsigned, unsigned);
}

struct Region {
  Function function;
  void *data;
  char begin, end;
};

static void run(void *data) {
  Region *region = static_cast<Region *>(data);
  __tsan_acquire(&region->begin);
  region->function(region->data);
  __tsan_release(&region->end);
}

void __wrap_GOMP_parallel(Function function, void *data, unsigned threads, unsigned flags) {
  Region region = {function, data, 0, 0};
  __tsan_release(&region.begin);
  __real_GOMP_parallel(run, &region, threads, flags);
  __tsan_acquire(&region.end);
}
