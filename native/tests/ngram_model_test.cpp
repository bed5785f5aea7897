#include "edgepersona/ngram_model.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <random>
#include <thread>
#include <utility>

#include "check.h"
#include "edgepersona/errors.h"
#include "failing_new.h"

using namespace edgepersona;

namespace {

using Token = NgramModel::Token;
using Tokens = std::vector<Token>;
using Ids = std::vector<std::int64_t>;

struct Batch {
    Ids ids;
    Tokens tokens;
    std::vector<std::int64_t> offsets{0};

    Batch& with(std::int64_t id, const Tokens& record) {
        ids.push_back(id);
        tokens.insert(tokens.end(), record.begin(), record.end());
        offsets.push_back(static_cast<std::int64_t>(tokens.size()));
        return *this;
    }
    void add_to(NgramModel& model) const {
        model.add({ids.data(), ids.size()}, {tokens.data(), tokens.size()},
                  {offsets.data(), offsets.size()});
    }
};

Prediction next(const NgramModel& model, const Tokens& context, std::size_t limit = 512) {
    return model.distribution({context.data(), context.size()}, limit);
}

std::vector<std::int32_t> draft(const NgramModel& model, const Tokens& context, std::size_t n) {
    return model.continuations({context.data(), context.size()}, n);
}

std::size_t remove(NgramModel& model, const Ids& ids) {
    return model.remove({ids.data(), ids.size()});
}

bool same(const NgramModel& a, const NgramModel& b) {
    if (a.size() != b.size() || a.tokens() != b.tokens()) return false;
    for (const Tokens& context :
         {Tokens{}, {0}, {1}, {0, 1}, {1, 0, 1}, {0, 1, 0, 1}, {2, 2, 2, 2}}) {
        const Prediction x = next(a, context), y = next(b, context);
        if (x.ids != y.ids || x.probs != y.probs) return false;
        if (draft(a, context, 5) != draft(b, context, 5)) return false;
    }
    return true;
}

Batch random_batch(std::int64_t first, std::size_t records, unsigned seed, Token kinds = 4) {
    std::mt19937 random(seed);
    Batch batch;
    for (std::size_t i = 0; i < records; ++i) {
        Tokens record(random() % 12);
        for (auto& token : record) token = random() % kinds;
        batch.with(first + static_cast<std::int64_t>(i), record);
    }
    return batch;
}

}  // namespace

TEST(a_context_seen_once_gives_a_quarter_and_hands_on_the_rest) {
    NgramModel model(2);
    Batch().with(1, {7, 8}).add_to(model);
    // Unigrams: two tokens of weight 1 and 2^(-1/512), each seen once; of that a tenth.
    const double older = std::exp2(-1 / 512.0), total = 1 + older;
    const double p8 = 0.1 * 0.25 / total, p7 = 0.1 * 0.25 * older / total;
    const Prediction after_7 = next(model, {7});
    CHECK((after_7.ids == std::vector<std::int32_t>{7, 8}));
    CHECK(std::abs(after_7.probs[1] - (0.25 + 0.75 * p8)) < 1e-7);
    CHECK(std::abs(after_7.probs[0] - 0.75 * p7) < 1e-7);
    const Prediction after_8 = next(model, {8});  // a record's end is counted, not predicted
    CHECK(std::abs(after_8.probs[1] - 0.75 * p8) < 1e-7);
    const Prediction unseen = next(model, {1000});
    CHECK(std::abs(unseen.probs[1] - p8) < 1e-7);
}

TEST(drafts_go_on_as_the_longest_match_did_and_end_with_its_record) {
    NgramModel model;
    Batch().with(1, {1, 2, 3, 4, 5}).with(2, {9, 2, 3, 7}).with(3, {2, 3, 8}).add_to(model);
    CHECK((draft(model, {6, 6, 6, 1, 2}, 9) == std::vector<std::int32_t>{3, 4, 5}));
    CHECK((draft(model, {6, 6, 6, 1, 2}, 2) == std::vector<std::int32_t>{3, 4}));
    CHECK((draft(model, {0, 0, 2, 3}, 9) == std::vector<std::int32_t>{8}));  // the newest of equals
    CHECK((draft(model, {2}, 9) == std::vector<std::int32_t>{3, 8}));  // a beginning and a token
    CHECK(draft(model, {}, 9).empty() && draft(model, {0, 0, 0, 3}, 9).empty());
    CHECK(draft(model, {4, 5, 4, 5}, 9).empty() && draft(model, {1, 2, 3}, 0).empty());
    NgramModel pairs(2);
    Batch().with(1, {1, 2, 3}).add_to(pairs);
    CHECK(draft(pairs, {1, 2}, 3).empty());  // contexts of one token
}

TEST(short_contexts_can_be_left_out_but_not_that_of_a_beginning) {
    NgramModel model;
    Batch().with(1, {7, 8, 9}).with(2, {6, 8, 5}).add_to(model);
    const auto ids = [&](const Tokens& context, std::size_t least) {
        return model.distribution({context.data(), context.size()}, 512, least).ids;
    };
    CHECK((ids({7, 8}, 2) == std::vector<std::int32_t>{9}));
    CHECK((ids({7, 8}, 1) == std::vector<std::int32_t>{5, 9}));
    CHECK((ids({7, 8}, 0) == std::vector<std::int32_t>{5, 6, 7, 8, 9}));
    CHECK((ids({7, 8}, 9) == std::vector<std::int32_t>{9}));  // the record's beginning is in it
    CHECK((ids({}, 9) == std::vector<std::int32_t>{6, 7}));
    CHECK(ids({1, 1, 1, 1, 8}, 2).empty());
}

TEST(what_two_records_have_is_told_from_what_one_has) {
    NgramModel model;
    Batch().with(1, {4, 7, 8, 9, 4, 7, 8, 9}).with(2, {3, 7, 8, 5, 1}).with(3, {2, 1}).add_to(model);
    const auto shared = [&](const Tokens& context, const Tokens& ids) {
        return model.shared({context.data(), context.size()}, {ids.data(), ids.size()});
    };
    using Answer = std::vector<std::uint8_t>;
    CHECK((shared({7}, {8, 9, 1000, 0xFFFFFFFFU}) == Answer{1, 0, 0, 0}));
    CHECK((shared({4, 7}, {8}) == Answer{0}));     // twice, and in one record
    CHECK((shared({0, 0, 7}, {8}) == Answer{1}));
    CHECK((shared({0, 0, 0}, {1, 4}) == Answer{1, 0}));
    CHECK((shared({}, {4, 1}) == Answer{0, 1}));
    remove(model, {2});
    CHECK((shared({0, 0, 7}, {8}) == Answer{0}));
}

TEST(only_the_newest_occurrences_count) {
    NgramModel model(3);
    Batch batch;
    batch.with(0, {1, 2, 3});
    for (std::int64_t id = 1; id <= static_cast<std::int64_t>(NgramModel::kNewest); ++id) {
        batch.with(id, {1, 2, 4});
    }
    batch.add_to(model);
    CHECK((next(model, {1, 2}).ids == std::vector<std::int32_t>{1, 2, 4}));
    CHECK(remove(model, {5}) == 1);
    CHECK((next(model, {1, 2}).ids == std::vector<std::int32_t>{1, 2, 3, 4}));
}

TEST(a_sequence_of_changes_leaves_what_a_fresh_model_has) {
    for (const std::size_t order : {2, 3, 4, 5}) {
        NgramModel model(order), fresh(order);
        random_batch(0, 300, 1).add_to(model);
        random_batch(200, 300, 2).add_to(model);
        Ids gone;
        for (std::int64_t id = 0; id < 450; ++id) gone.push_back(id);
        CHECK(remove(model, gone) == 450);
        random_batch(1000, 20, 3).add_to(model);
        Batch left;
        const Batch second = random_batch(200, 300, 2), third = random_batch(1000, 20, 3);
        for (std::size_t i = 0; i < 300; ++i) {
            if (second.ids[i] < 450) continue;
            left.with(second.ids[i], {second.tokens.begin() + second.offsets[i],
                                      second.tokens.begin() + second.offsets[i + 1]});
        }
        left.add_to(fresh);
        third.add_to(fresh);
        CHECK(same(model, fresh));
    }
}

TEST(an_add_that_runs_out_of_memory_changes_nothing) {
    NgramModel model, before;
    random_batch(0, 40, 4).add_to(model);
    random_batch(0, 40, 4).add_to(before);
    const Batch more = random_batch(20, 400, 5, 60);
    std::size_t failures = 0;
    for (bool done = false; !done;) {
        try {
            const FailingNew failing(failures);
            more.add_to(model);
            done = true;
        } catch (const std::bad_alloc&) {
            ++failures;
            CHECK(same(model, before));
        }
    }
    CHECK(failures > 10);
    more.add_to(before);
    CHECK(same(model, before));
    Ids all;
    for (std::int64_t id = 0; id < 420; ++id) all.push_back(id);
    const FailingNew failing(0);  // removing needs none
    CHECK(remove(model, all) == 420);
    CHECK(model.size() == 0 && model.tokens() == 0);
}

TEST(what_is_no_history_is_refused_and_changes_nothing) {
    NgramModel model;
    random_batch(0, 10, 6).add_to(model);
    NgramModel before;
    random_batch(0, 10, 6).add_to(before);
    const auto refused = [&](const Ids& ids, const Tokens& tokens, const Ids& offsets) {
        return check::throws<InvalidInput>([&] {
                   model.add({ids.data(), ids.size()}, {tokens.data(), tokens.size()},
                             {offsets.data(), offsets.size()});
               }) &&
               same(model, before);
    };
    CHECK(refused({1, 1}, {1, 2}, {0, 1, 2}));
    CHECK(refused({1, 20}, {1, 2}, {0, 1}));
    CHECK(refused({}, {}, {}));
    CHECK(refused({1}, {1, 2}, {0, 3}));
    CHECK(refused({1, 20}, {1, 2}, {0, 2, 1}));
    CHECK(refused({1}, {1, 2}, {-1, 1}));
    CHECK(refused({1, 20}, {1, 2, 3, 0x80000000U}, {0, 3, 4}));
    CHECK(refused({20, 1}, {1, 2, 3, 0xFFFFFFFFU, 5}, {0, 3, 5}));
    CHECK(check::throws<InvalidInput>([&] { next(model, {1}, 0); }));
    CHECK(check::throws<InvalidInput>([&] { next(model, {0x80000000U}); }));
    CHECK(check::throws<InvalidInput>([&] { draft(model, {1, 0xFFFFFFFFU}, 3); }));
    for (const std::size_t order : {0, 1, 6}) {
        CHECK(check::throws<InvalidInput>([&] { NgramModel other(order); }));
    }
    model.add({}, {}, {std::vector<std::int64_t>{0}.data(), 1});
    CHECK(same(model, before));
}

TEST(the_largest_token_id_is_one_like_others) {
    NgramModel model;
    Batch().with(1, {0x7FFFFFFFU, 0, 0x7FFFFFFFU}).add_to(model);
    CHECK((next(model, {0x7FFFFFFFU, 0}).ids == std::vector<std::int32_t>{0, 0x7FFFFFFF}));
    CHECK((draft(model, {0x7FFFFFFFU}, 5) == std::vector<std::int32_t>{0, 0x7FFFFFFF}));
}

TEST(predictions_run_beside_writers) {
    NgramModel model;
    Batch().with(-1, {900, 901, 902, 903}).add_to(model);  // always there
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0}, rounds{0};
    std::vector<std::thread> readers;
    for (int reader = 0; reader < 2; ++reader) {
        readers.emplace_back([&] {
            while (!done) {
                const Prediction found = next(model, {900, 901});
                const auto at = std::find(found.ids.begin(), found.ids.end(), 902);
                wrong += at == found.ids.end() || found.probs[at - found.ids.begin()] < 0.25F;
                wrong += draft(model, {900, 901}, 5) != std::vector<std::int32_t>{902, 903};
                wrong += next(model, {1, 2, 3, 1}).ids.empty();
                ++rounds;
            }
        });
    }
    for (int round = 0; round < 30 || rounds < 10; ++round) {
        const Batch batch = random_batch(0, 200, static_cast<unsigned>(round));
        batch.add_to(model);
        remove(model, {batch.ids.begin() + 50, batch.ids.end()});
        CHECK(model.size() == 51 && model.memory_bytes() > 0);
    }
    done = true;
    for (auto& reader : readers) reader.join();
    CHECK(wrong == 0);
}
