# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=False
"""The sampling kernel: logits in, token out, without allocating once it is warm."""

from libc.float cimport FLT_MAX
from libc.math cimport INFINITY, log
from libc.stdint cimport int32_t
from libc.string cimport memcpy
from libcpp.algorithm cimport nth_element, sort
from libcpp.vector cimport vector

from edgepersona.errors import InputError


cdef extern from "by_logit.h" nogil:
    cdef cppclass ByLogit:
        ByLogit()
        const float* logits
        bint operator()(int32_t, int32_t)

cdef extern from "scans.h" nogil:
    bint best_of(const float*, size_t, float*)
    size_t at_least(const float*, size_t, float, int32_t*)
    void weigh_all(const float*, size_t, float, float, float*)
    double sum_of(const float*, size_t)


cdef enum Problem:
    EMPTY = -1
    NOT_A_NUMBER = -2
    NO_CANDIDATE = -3
    UNKNOWN_TOKEN = -4


_MESSAGES = {
    EMPTY: "the logits are empty: expected one for each token of the vocabulary",
    NOT_A_NUMBER: "the logits hold a NaN or +inf: the model's output cannot be used",
    NO_CANDIDATE: "every logit is -inf: no token can be chosen",
    UNKNOWN_TOKEN: "a token seen before lies outside the vocabulary of these logits",
}


cdef class SamplingKernel:
    """Turns logits into a token under fixed settings; holds the tokens seen and scratch space.

    The settings are trusted: SamplingParams has checked them. Not safe to share between threads.
    """

    cdef double temperature, top_p, min_p, penalty
    cdef Py_ssize_t top_k
    cdef vector[int32_t] seen
    cdef vector[char] marked          # by token: penalised already in this call
    cdef vector[float] logits         # penalised
    cdef bint whole                   # every token is a candidate: kept is not filled
    cdef vector[int32_t] kept         # candidates, by rising token id
    cdef vector[int32_t] ranked       # candidates, by falling logit
    cdef Py_ssize_t weighed           # how many candidates have their weight
    # These two only grow: a vector that shrinks is cleared where it grows again.
    cdef vector[float] weights        # of the candidates, relative to the best one
    cdef vector[int32_t] found        # what a pass found

    def __init__(
        self,
        *,
        double temperature,
        Py_ssize_t top_k,
        double top_p,
        double min_p,
        double repetition_penalty,
    ):
        # Below 1e-30 nothing differs but subnormal logits, and the inverse ends being a float.
        self.temperature = max(temperature, 1e-30) if temperature > 0.0 else 0.0
        self.top_k = top_k
        self.top_p = top_p
        self.min_p = min_p
        self.penalty = repetition_penalty

    def see(self, tokens):
        """Count these token ids as seen, for the repetition penalty."""
        cdef int32_t token
        for token in tokens:
            self.seen.push_back(token)

    def sample(self, const float[::1] logits, double u):
        """Return the token that the uniform number ``u`` in [0, 1) draws, and count it as seen."""
        cdef Py_ssize_t size = logits.shape[0]
        cdef Py_ssize_t token
        if size == 0:
            raise InputError(_MESSAGES[EMPTY])
        with nogil:
            token = self.choose(&logits[0], size, u)
            if token >= 0 and self.penalty != 1.0:
                self.seen.push_back(<int32_t>token)
        if token < 0:
            raise InputError(_MESSAGES[token])
        return token

    cdef Py_ssize_t choose(self, const float* logits, Py_ssize_t size, double u) noexcept nogil:
        cdef float best
        if self.penalty != 1.0:
            if not self.penalise(logits, size):
                return UNKNOWN_TOKEN
            logits = self.logits.data()
        if not best_of(logits, size, &best) or best == INFINITY:
            return NOT_A_NUMBER
        if best == -INFINITY:
            return NO_CANDIDATE
        if self.temperature == 0.0:
            self.gather(logits, size, best)
            return self.kept[0]
        self.keep_top_k_and_min_p(logits, size, best)
        self.weigh(logits, size, best)
        if self.top_p < 1.0:
            self.keep_top_p(logits, best)
            self.weigh(logits, size, best)
        return self.draw(u)

    cdef bint penalise(self, const float* logits, Py_ssize_t size) noexcept nogil:
        """Copy the logits, those of seen tokens made less likely, each token once."""
        cdef int32_t token
        cdef double value
        if <Py_ssize_t>self.logits.size() != size:
            self.logits.resize(size)
            self.marked.assign(size, 0)
        memcpy(self.logits.data(), logits, size * sizeof(float))
        for token in self.seen:
            if token < 0 or token >= size:
                return False
        for token in self.seen:
            if not self.marked[token]:
                self.marked[token] = 1
                value = self.logits[token]
                value = value * self.penalty if value < 0 else value / self.penalty
                self.logits[token] = <float>value
        for token in self.seen:
            self.marked[token] = 0
        return True

    cdef void keep_top_k_and_min_p(
        self, const float* logits, Py_ssize_t size, float best
    ) noexcept nogil:
        cdef ByLogit order
        cdef double floor = log(self.min_p) if self.min_p > 0.0 else -INFINITY
        cdef double reach = 4.0
        cdef Py_ssize_t i, count = 0
        order.logits = logits
        self.whole = self.min_p == 0.0 and not 0 < self.top_k < size
        if self.whole:
            return
        if 0 < self.top_k < size:
            # Few tokens come near the best: look there first, so that selecting is cheap.
            self.gather(logits, size, <float>(best - reach))
            while <Py_ssize_t>self.kept.size() < self.top_k and reach < 100.0:
                reach *= 4.0
                self.gather(logits, size, <float>(best - reach))
            if <Py_ssize_t>self.kept.size() < self.top_k:
                self.gather(logits, size, -FLT_MAX)
            if <Py_ssize_t>self.kept.size() > self.top_k:
                nth_element(
                    self.kept.begin(), self.kept.begin() + self.top_k, self.kept.end(), order
                )
                self.kept.resize(self.top_k)
                sort(self.kept.begin(), self.kept.end())
        else:
            # A little below the floor, against rounding; the exact test follows.
            self.gather(logits, size, <float>(best + floor * self.temperature * 1.001 - 1e-3))
        if self.min_p > 0.0:
            for i in range(<Py_ssize_t>self.kept.size()):
                if (<double>logits[self.kept[i]] - best) / self.temperature >= floor:
                    self.kept[count] = self.kept[i]
                    count += 1
            self.kept.resize(count)

    cdef void gather(self, const float* logits, Py_ssize_t size, float least) noexcept nogil:
        """Keep the tokens whose logit is at least ``least``."""
        self.pick(logits, size, least, &self.kept)

    cdef void pick(
        self, const float* values, Py_ssize_t size, float least, vector[int32_t]* picked
    ) noexcept nogil:
        """Set ``picked`` to the numbers of the values that are at least ``least``."""
        cdef size_t count
        if <Py_ssize_t>self.found.size() < size:
            self.found.resize(size)
        count = at_least(values, size, least, self.found.data())
        picked.assign(self.found.begin(), self.found.begin() + count)

    cdef void weigh(self, const float* logits, Py_ssize_t size, float best) noexcept nogil:
        cdef Py_ssize_t i, count = size if self.whole else self.kept.size()
        cdef float slope = <float>(1.0 / self.temperature)
        if <Py_ssize_t>self.weights.size() < count:
            self.weights.resize(count)
        self.weighed = count
        if not self.whole:
            for i in range(count):
                self.weights[i] = logits[self.kept[i]]
            logits = self.weights.data()
        weigh_all(logits, count, best, slope, self.weights.data())

    cdef void keep_top_p(self, const float* logits, float best) noexcept nogil:
        """Keep the fewest likeliest tokens whose weights reach ``top_p`` of the sum."""
        cdef ByLogit order
        cdef float slope = <float>(1.0 / self.temperature)
        cdef float weight, least = 0.01
        cdef double reached, enough = self.top_p * sum_of(self.weights.data(), self.weighed)
        cdef Py_ssize_t i
        order.logits = logits
        # Sort only as many as are needed: those above a threshold that surely reach far enough.
        while self.rank_from(least) <= enough * (1.0 + 1e-9) and least > 0.0:
            least = least / <float>32.0 if least > 1e-9 else 0.0
        sort(self.ranked.begin(), self.ranked.end(), order)
        reached = 0.0
        for i in range(<Py_ssize_t>self.ranked.size()):
            weigh_all(&logits[self.ranked[i]], 1, best, slope, &weight)
            reached += weight
            if reached >= enough:
                self.ranked.resize(i + 1)
                break
        sort(self.ranked.begin(), self.ranked.end())
        self.kept.swap(self.ranked)
        self.whole = False

    cdef double rank_from(self, float least) noexcept nogil:
        """Fill ranked, unsorted, with the candidates that weigh ``least``; return their sum."""
        cdef Py_ssize_t i
        cdef double total = 0.0
        self.pick(self.weights.data(), self.weighed, least, &self.ranked)
        for i in range(<Py_ssize_t>self.ranked.size()):
            total += self.weights[self.ranked[i]]
            if not self.whole:
                self.ranked[i] = self.kept[self.ranked[i]]
        return total

    cdef Py_ssize_t draw(self, double u) noexcept nogil:
        """Invert the cumulative distribution, tokens by rising id."""
        cdef Py_ssize_t i, last = 0
        cdef double reached = 0.0
        cdef double target = u * sum_of(self.weights.data(), self.weighed)
        for i in range(self.weighed):
            if self.weights[i] > 0.0:
                reached += self.weights[i]
                last = i
                if reached > target:
                    break
        return last if self.whole else self.kept[last]
