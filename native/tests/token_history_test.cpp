#include "edgepersona/token_history.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "check.h"

using namespace edgepersona;

namespace {

using Token = TokenHistory::Token;
constexpr Token kMark = TokenHistory::kMark;

void add(TokenHistory& history, std::int64_t id, const std::vector<Token>& tokens) {
    const std::int64_t offsets[] = {0, static_cast<std::int64_t>(tokens.size())};
    history.add({&id, 1}, {tokens.data(), tokens.size()}, {offsets, 2});
}

std::size_t remove(TokenHistory& history, const std::vector<std::int64_t>& ids) {
    return history.remove({ids.data(), ids.size()});
}

// What follows each occurrence, oldest first.
std::vector<Token> after(const TokenHistory& history, Span<TokenHistory::Position> found) {
    std::vector<Token> next;
    for (const auto position : found) next.push_back(history.at(position + 1));
    return next;
}

}  // namespace

TEST(a_records_beginning_and_end_are_contexts_like_tokens) {
    TokenHistory history(true);
    CHECK(history.size() == 0 && history.tokens() == 0 && history.find(kMark).size == 0);
    add(history, 1, {5, 6, 5});
    add(history, 2, {});
    add(history, 3, {6});
    CHECK(history.size() == 3 && history.tokens() == 4);
    CHECK((after(history, history.find(kMark)) == std::vector<Token>{5, kMark, 6}));
    CHECK((after(history, history.find(5)) == std::vector<Token>{6, kMark}));
    CHECK((after(history, history.find(kMark, 5)) == std::vector<Token>{6}));
    CHECK((after(history, history.find(6, 5)) == std::vector<Token>{kMark}));
    CHECK((after(history, history.find(kMark, 6)) == std::vector<Token>{kMark}));
    CHECK(history.find(5, 5).size == 0);  // never across two records
}

TEST(a_removed_records_tokens_are_overwritten) {
    TokenHistory history(true);
    add(history, 1, {1, 2, 3, 4, 5, 6, 7, 8});
    add(history, 2, {77, 78});
    const Token* const data = history.data();
    CHECK(std::find(data, data + 13, 77U) != data + 13);
    CHECK(remove(history, {2, 2, 9}) == 1);
    CHECK(history.data() == data);  // too little is gone to build anew
    CHECK(std::count(data, data + 13, kMark) == 5);
    CHECK(std::find_if(data, data + 13, [](Token t) { return t == 77 || t == 78; }) == data + 13);
    CHECK(history.find(77).size == 0 && history.find(77, 78).size == 0);
    CHECK(history.size() == 1 && history.tokens() == 8);
}

TEST(what_is_removed_gives_its_memory_back) {
    TokenHistory history(true);
    const std::size_t empty = history.memory_bytes();
    std::mt19937 random(3);
    std::vector<std::int64_t> ids;
    for (std::int64_t id = 0; id < 3000; ++id) {
        std::vector<Token> tokens(20);
        for (auto& token : tokens) token = random() % 1000;
        add(history, id, tokens);
        ids.push_back(id);
    }
    const std::size_t full = history.memory_bytes();
    std::shuffle(ids.begin(), ids.end(), random);
    CHECK(remove(history, {ids.begin(), ids.begin() + 2400}) == 2400);
    CHECK(history.memory_bytes() < full * 2 / 5);
    CHECK(remove(history, ids) == 600);
    CHECK(history.memory_bytes() <= empty);
}

TEST(without_pairs_only_contexts_of_one_token_are_kept) {
    TokenHistory history(false);
    add(history, 1, {5, 6});
    CHECK(history.find(5).size == 1 && history.find(5, 6).size == 0);
    CHECK(remove(history, {1}) == 1);
    CHECK(history.find(5).size == 0);
}
