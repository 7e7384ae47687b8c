#ifndef SAMPLE_FUNC_H
#define SAMPLE_FUNC_H

/* 1000 times a + b. */
long long cadd_two(int a, int b);

#endif
