// The harness functions, one per reader of files that others may have written or damaged, with their mutators and
// repairs; each is in fuzz_NAME.cc. readers.cc lists them.
#ifndef ZO2_TESTS_FUZZ_READERS_H_
#define ZO2_TESTS_FUZZ_READERS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/fuzz/mutate.h"

namespace zo2::fuzz {

// A model through the importer and every pass; its folder has a data.bin of 4 KiB for external tensors.
int FuzzOnnx(const uint8_t* data, size_t size);
void MutateOnnx(std::string* input, Random& random);

// A plan file of either form, then the verifier.
int FuzzPlan(const uint8_t* data, size_t size);
void MutatePlan(std::string* input, Random& random);
void RepairPlan(std::string* input);

int FuzzJournal(const uint8_t* data, size_t size);
void MutateJournal(std::string* input, Random& random);
void RepairJournal(std::string* input);

// The snapshot of a tiny schedule at step 3.
int FuzzSnapshot(const uint8_t* data, size_t size);
void RepairSnapshot(std::string* input);

// A .safetensors file, or (an input that begins with "{") an index of shards beside shard.safetensors.
int FuzzSafetensors(const uint8_t* data, size_t size);
void MutateSafetensors(std::string* input, Random& random);
void RepairSafetensors(std::string* input);

// A data file, behind two characters: its kind (n .npy, 1 .u16, 2 .u32, j .jsonl, s .safetensors) and a digit d from 0
// to 5: d mod 3 is the schedule that takes it (Model in fuzz_dataset.cc), odd d cuts rows that are too long.
int FuzzDataset(const uint8_t* data, size_t size);
void MutateDataset(std::string* input, Random& random);
void RepairDataset(std::string* input);

int FuzzMachine(const uint8_t* data, size_t size);
void MutateMachine(std::string* input, Random& random);

}  // namespace zo2::fuzz

#endif  // ZO2_TESTS_FUZZ_READERS_H_
