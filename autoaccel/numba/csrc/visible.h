/* NRT's functions are called from other libraries here. */
#include "_numba_common.h"
#undef VISIBILITY_HIDDEN
#define VISIBILITY_HIDDEN __attribute__((visibility("default")))
