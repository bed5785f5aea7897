// Drives a fuzz target where the compiler has no libFuzzer (GCC), with libFuzzer's own options:
//
//     vector_index_fuzz [-max_total_time=S] [-runs=N] [-seed=N] [-artifact_prefix=PATH] [folder]
//     vector_index_fuzz FILE …        runs these inputs and ends
//
// Inputs are mutated, and kept where they reach something new: GCC calls us at every edge of the
// core (-fsanitize-coverage=trace-pc). The folder holds what was kept, and grows. The same seed,
// runs and folder do the same again. The input that ends the program is written beside the prefix.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" const char __executable_start;  // of the linker: places do not depend on where we lie

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kPlaces = 1 << 16, kLongest = 1500;
constexpr unsigned kTimeout_s = 60;  // of one input

std::array<std::uint8_t, kPlaces> hits;  // how often each edge was taken in this run
thread_local bool counting = false;      // in the thread that drives, not in those of the core
std::uintptr_t before = 0;
const Bytes* current = nullptr;
std::string artifact;

extern "C" void on_death(int signal) {
    if (current != nullptr) {
        const int file = open(artifact.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (file >= 0 && write(file, current->data(), current->size()) >= 0) {
            constexpr char kSaid[] = "\nthe input is kept in ";
            (void)!write(2, kSaid, sizeof kSaid - 1);
            (void)!write(2, artifact.data(), artifact.size());
            (void)!write(2, "\n", 1);
        }
    }
    ::signal(signal, SIG_DFL);
    raise(signal);
}

struct Options {
    double seconds = 60;
    long long runs = -1;
    std::uint64_t seed = 1;
    std::string prefix = "./";
    std::vector<std::string> paths;
};

Options options_of(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        const std::size_t equals = argument.find('=');
        const std::string name = argument.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
        if (name == "-max_total_time") {
            options.seconds = std::stod(value);
        } else if (name == "-runs") {
            options.runs = std::stoll(value);
        } else if (name == "-seed") {
            options.seed = std::stoull(value);
        } else if (name == "-artifact_prefix") {
            options.prefix = value;
        } else if (argument[0] == '-') {
            std::fprintf(stderr, "%s: no such option\n", argument.c_str());
            std::exit(2);
        } else {
            options.paths.push_back(argument);
        }
    }
    return options;
}

Bytes read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void run(const Bytes& input) {
    // Exactly as much memory as there are bytes, so that a sanitizer sees one read too many.
    const Bytes copy(input);
    current = &copy;
    alarm(kTimeout_s);
    hits.fill(0);
    before = 0;
    counting = true;
    LLVMFuzzerTestOneInput(copy.data(), copy.size());
    counting = false;
    current = nullptr;
}

// Whether the last run took an edge that none took before, or clearly more often.
bool is_new(std::array<std::uint8_t, kPlaces>& seen) {
    bool found = false;
    for (std::size_t i = 0; i < kPlaces; ++i) {
        if (hits[i] == 0) continue;
        const auto log2 = static_cast<unsigned>(31 - __builtin_clz(hits[i]));
        const auto bit = static_cast<std::uint8_t>(1U << log2);
        found |= (seen[i] & bit) == 0;
        seen[i] |= bit;
    }
    return found;
}

class Mutator {
  public:
    explicit Mutator(std::uint64_t seed) : random_(seed) {}

    std::size_t below(std::size_t count) { return random_() % count; }

    Bytes mutated(const std::vector<Bytes>& corpus) {
        Bytes bytes = corpus[below(corpus.size())];
        for (std::size_t i = below(8) + 1; i > 0; --i) mutate(bytes, corpus);
        bytes.resize(std::min(bytes.size(), kLongest));
        return bytes;
    }

  private:
    void mutate(Bytes& bytes, const std::vector<Bytes>& corpus) {
        const std::size_t at = below(bytes.size() + 1), rest = bytes.size() - at;
        const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end = here + static_cast<std::ptrdiff_t>(rest == 0 ? 0 : below(rest) % 64 + 1);
        switch (below(7)) {
            case 0:
                if (rest != 0) *here ^= static_cast<std::uint8_t>(1U << below(8));
                return;
            case 1:
                if (rest != 0) *here = static_cast<std::uint8_t>(random_());
                return;
            case 2: {
                static constexpr std::uint8_t kEdges[] = {0, 1, 2, 0x7f, 0x80, 0xfe, 0xff};
                if (rest != 0) *here = kEdges[below(std::size(kEdges))];
                return;
            }
            case 3: {
                Bytes fresh(below(16) + 1);
                for (auto& byte : fresh) byte = static_cast<std::uint8_t>(random_());
                bytes.insert(here, fresh.begin(), fresh.end());
                return;
            }
            case 4:
                bytes.erase(here, std::min(end, bytes.end()));
                return;
            case 5: {
                const Bytes again(here, std::min(end, bytes.end()));
                const auto to = static_cast<std::ptrdiff_t>(below(bytes.size() + 1));
                bytes.insert(bytes.begin() + to, again.begin(), again.end());
                return;
            }
            default: {  // goes on as another does
                const Bytes& other = corpus[below(corpus.size())];
                const auto from = static_cast<std::ptrdiff_t>(below(other.size() + 1));
                bytes.erase(here, bytes.end());
                bytes.insert(bytes.end(), other.begin() + from, other.end());
                return;
            }
        }
    }

    std::mt19937_64 random_;
};

std::vector<Bytes> corpus_of(const std::string& folder) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());  // a folder has no order of its own
    std::vector<Bytes> corpus;
    for (const auto& path : paths) corpus.push_back(read_file(path));
    return corpus;
}

void keep(const Bytes& input, const std::string& folder) {
    std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a
    for (const std::uint8_t byte : input) hash = (hash ^ byte) * 0x100000001b3U;
    char name[17];
    std::snprintf(name, sizeof name, "%016llx", static_cast<unsigned long long>(hash));
    std::ofstream(std::filesystem::path(folder) / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(input.data()),
               static_cast<std::streamsize>(input.size()));
}

void search(const Options& options) {
    static std::array<std::uint8_t, kPlaces> seen{};
    const std::string folder = options.paths.empty() ? "" : options.paths[0];
    std::vector<Bytes> corpus = folder.empty() ? std::vector<Bytes>{} : corpus_of(folder);
    corpus.emplace_back();
    for (const Bytes& input : corpus) {
        run(input);
        is_new(seen);
    }
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(
                                                            options.seconds);
    Mutator mutator(options.seed);
    long long runs = 0;
    for (; options.runs < 0 ? std::chrono::steady_clock::now() < end : runs < options.runs; ++runs) {
        Bytes input = mutator.mutated(corpus);
        run(input);
        if (!is_new(seen)) continue;
        if (!folder.empty()) keep(input, folder);
        corpus.push_back(std::move(input));
    }
    const auto places = kPlaces - static_cast<std::size_t>(std::count(seen.begin(), seen.end(), 0));
    std::printf("%lld runs, %zu inputs kept, %zu edges\n", runs, corpus.size(), places);
}

}  // namespace

extern "C" void __sanitizer_cov_trace_pc() {
    if (!counting) return;
    const auto place = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) -
                       reinterpret_cast<std::uintptr_t>(&__executable_start);
    std::uint8_t& count = hits[(place ^ before) % kPlaces];
    if (count != 255) ++count;
    before = place >> 1;
}

// All sanitizers end by SIGABRT, and so does an exception that nobody catches.
extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }

int main(int argc, char** argv) {
    const Options options = options_of(argc, argv);
    artifact = options.prefix + "failed";
    signal(SIGABRT, on_death);
    signal(SIGALRM, on_death);
    if (!options.paths.empty() && !std::filesystem::is_directory(options.paths[0])) {
        for (const std::string& path : options.paths) run(read_file(path));
    } else {
        search(options);
    }
    return 0;
}
