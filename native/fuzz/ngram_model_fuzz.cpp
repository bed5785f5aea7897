// An NgramModel that records came to and left says what one does that has only those left.
#include "edgepersona/ngram_model.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "edgepersona/errors.h"
#include "fuzz.h"

using namespace edgepersona;

namespace {

using Token = NgramModel::Token;
using Tokens = std::vector<Token>;
using Ids = std::vector<std::int64_t>;

Token token_of(fuzz::Input& input) {
    const auto byte = input.take<std::uint8_t>();
    return byte == 255 ? input.take<std::uint32_t>() : byte % 5;
}

Tokens tokens_of(fuzz::Input& input, std::size_t most) {
    Tokens tokens(input.up_to(most));
    for (Token& token : tokens) token = token_of(input);
    return tokens;
}

Ids ids_of(fuzz::Input& input, std::size_t most) {
    Ids ids(input.up_to(most));
    for (auto& id : ids) id = input.chance(64) ? input.take<std::int64_t>() : input.up_to(40);
    return ids;
}

bool usable(const Tokens& tokens) {
    return std::all_of(tokens.begin(), tokens.end(),
                       [](Token token) { return token <= TokenHistory::kMaxToken; });
}

void add(NgramModel& model, const Ids& ids, const Tokens& tokens, const Ids& offsets) {
    model.add({ids.data(), ids.size()}, {tokens.data(), tokens.size()},
              {offsets.data(), offsets.size()});
}

class Pair {
  public:
    explicit Pair(std::size_t order) : order_(order), model_(order) {}

    void add(fuzz::Input& input) {
        const Ids ids = ids_of(input, 10);
        Tokens tokens;
        Ids offsets{0};
        std::vector<std::pair<std::int64_t, Tokens>> fresh;
        for (const std::int64_t id : ids) {
            fresh.push_back({id, tokens_of(input, 14)});
            tokens.insert(tokens.end(), fresh.back().second.begin(), fresh.back().second.end());
            offsets.push_back(static_cast<std::int64_t>(tokens.size()));
        }
        bool good = usable(tokens) && std::set(ids.begin(), ids.end()).size() == ids.size();
        if (input.chance(16)) {  // an offset that is none
            auto& offset = offsets[input.up_to(offsets.size() - 1)];
            const auto before = offset;
            offset = input.chance(2) ? input.take<std::int64_t>() : input.up_to(30);
            if (offset != before) return refused(ids, tokens, offsets);
        }
        CHECK(good != check::throws<InvalidInput>([&] { ::add(model_, ids, tokens, offsets); }));
        if (!good) return;
        for (auto& record : fresh) {
            drop(record.first);
            records_.push_back(std::move(record));
        }
    }

    void remove(fuzz::Input& input) {
        const Ids ids = ids_of(input, 30);
        std::size_t expected = 0;
        for (const std::int64_t id : ids) expected += drop(id);
        CHECK(model_.remove({ids.data(), ids.size()}) == expected);
    }

    void ask(fuzz::Input& input) const {
        const Tokens context = tokens_of(input, 7);
        const std::size_t limit = input.up_to(20), n = input.up_to(9);
        const bool good = usable(context) && limit > 0;
        Prediction next;
        const bool refused = check::throws<InvalidInput>(
            [&] { next = ask(model_, context, limit); });
        CHECK(!(good && refused) && (refused || limit > 0));  // what is far back is not looked at
        if (!good) return;
        check_prediction(next, limit);
        check_prediction(
            model_.distribution({context.data(), context.size()}, limit, input.up_to(5)), limit);
        const Tokens ids = tokens_of(input, 5);
        CHECK(model_.shared({context.data(), context.size()}, {ids.data(), ids.size()}).size() ==
              ids.size());
        const auto draft = model_.continuations({context.data(), context.size()}, n);
        CHECK(draft.size() <= n);
        CHECK(std::all_of(draft.begin(), draft.end(), [](std::int32_t token) { return token >= 0; }));
    }

    void check() const {
        std::size_t tokens = 0;
        for (const auto& record : records_) tokens += record.second.size();
        CHECK(model_.size() == records_.size() && model_.tokens() == tokens);
    }

    // To the bit what a model says that was made of the records that are left.
    void compare() const {
        Ids ids, offsets{0};
        Tokens tokens;
        for (const auto& [id, record] : records_) {
            ids.push_back(id);
            tokens.insert(tokens.end(), record.begin(), record.end());
            offsets.push_back(static_cast<std::int64_t>(tokens.size()));
        }
        NgramModel fresh(order_);
        ::add(fresh, ids, tokens, offsets);
        std::vector<Tokens> contexts{{}, {0}, {1}, {1, 2}, {3, 3, 3}, {0, 1, 0, 1}, {4, 0, 2, 1, 3}};
        if (!records_.empty()) contexts.push_back(records_.back().second);
        for (const Tokens& context : contexts) {
            const Prediction a = ask(model_, context, 512), b = ask(fresh, context, 512);
            CHECK(a.ids == b.ids && a.probs == b.probs);
            const Span<Token> last{context.data(), context.size()};
            CHECK(model_.continuations(last, 6) == fresh.continuations(last, 6));
            CHECK(model_.shared(last, last) == fresh.shared(last, last));
        }
    }

  private:
    static Prediction ask(const NgramModel& model, const Tokens& context, std::size_t limit) {
        return model.distribution({context.data(), context.size()}, limit);
    }

    static void check_prediction(const Prediction& next, std::size_t limit) {
        CHECK(next.ids.size() == next.probs.size() && next.ids.size() <= limit);
        double sum = 0;
        for (std::size_t i = 0; i < next.ids.size(); ++i) {
            CHECK(next.ids[i] >= 0 && (i == 0 || next.ids[i] > next.ids[i - 1]));
            CHECK(next.probs[i] > 0);
            sum += double{next.probs[i]};
        }
        CHECK(sum <= 1 + 1e-6);
    }

    // Another offset may still be one: then there are other records, which are not followed here.
    void refused(const Ids& ids, const Tokens& tokens, const Ids& offsets) {
        NgramModel other(order_);
        try {
            ::add(other, ids, tokens, offsets);
        } catch (const InvalidInput&) {
            CHECK(other.size() == 0 && other.tokens() == 0);
        }
    }

    std::size_t drop(std::int64_t id) {
        const auto found = std::find_if(records_.begin(), records_.end(),
                                        [&](const auto& record) { return record.first == id; });
        if (found == records_.end()) return 0;
        records_.erase(found);
        return 1;
    }

    std::size_t order_;
    NgramModel model_;
    std::vector<std::pair<std::int64_t, Tokens>> records_;  // oldest first
};

}  // namespace

FUZZ(ngram_model) {
    Pair pair(2 + input.up_to(3));
    while (!input.empty()) {
        switch (input.up_to(7)) {
            case 0:
            case 1:
            case 2:
                pair.add(input);
                break;
            case 3:
                pair.remove(input);
                break;
            case 4:
                pair.compare();
                break;
            default:
                pair.ask(input);
        }
        pair.check();
    }
    pair.compare();
}
