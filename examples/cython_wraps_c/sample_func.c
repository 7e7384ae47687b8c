#include "sample_func.h"

long long cadd_two(int a, int b) {
    long long acc = 0;
    for (int i = 0; i < 1000; i++)
        acc += (long long)a + b;
    return acc;
}
