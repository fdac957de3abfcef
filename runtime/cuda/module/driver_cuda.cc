// The driver by CUDA's runtime, on the first GPU.
#include <cuda_runtime_api.h>

#include <dlfcn.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <utility>

#include "runtime/aten_device/cuda_hooks.h"
#include "runtime/aten_device/device_kernels.h"
#include "runtime/cuda/cuda_device.h"

namespace zo2::cuda {
namespace {

constexpr int kGpu = 0;
// For what ATen and cuBLAS keep or need beyond the planned workspaces. cuBLAS takes 32 MiB for each stream's products on
// sm_90, cuBLASLt as much again.
constexpr uint64_t kReserve = 160ull << 20;

Status Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return Status();
  (void)cudaGetLastError();  // an error that is told is not told again, unless it is one of those that stay
  return Error(Code::kDevice, "the GPU cannot ", what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")");
}

cudaStream_t Stream(StreamHandle stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t AsEvent(EventHandle event) { return static_cast<cudaEvent_t>(event); }

std::string VersionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// What NVIDIA's management library says; nothing where it is absent.
class Management {
 public:
  Management() : library_(dlopen("libnvidia-ml.so.1", RTLD_NOW)) {
    const auto init = Function<int (*)()>("nvmlInit_v2");
    ready_ = init != nullptr && init() == 0;
  }
  ~Management() {
    if (ready_)
      if (const auto shutdown = Function<int (*)()>("nvmlShutdown")) shutdown();
    if (library_ != nullptr) dlclose(library_);
  }
  // Memory of the GPU that is in use; 0 = unknown.
  uint64_t UsedBytes(const std::string& pci_bus) {
    void* const device = Find(pci_bus);
    struct {
      unsigned long long total, free, used;
    } memory = {};
    const auto info = Function<int (*)(void*, void*)>("nvmlDeviceGetMemoryInfo");
    return device != nullptr && info != nullptr && info(device, &memory) == 0 ? memory.total - memory.free : 0;
  }
  void Describe(const std::string& pci_bus, std::map<std::string, std::string>* facts) {
    void* const device = Find(pci_bus);
    if (device == nullptr) return;
    char text[96] = {};
    if (const auto version = Function<int (*)(char*, unsigned)>("nvmlSystemGetDriverVersion");
        version != nullptr && version(text, sizeof text) == 0)
      (*facts)["driver"] = text;
    int current = 0, pending = 0;
    if (const auto ecc = Function<int (*)(void*, int*, int*)>("nvmlDeviceGetEccMode");
        ecc != nullptr && ecc(device, &current, &pending) == 0)
      (*facts)["ecc"] = current != 0 ? "on" : "off";
    unsigned milliwatts = 0;
    if (const auto limit = Function<int (*)(void*, unsigned*)>("nvmlDeviceGetEnforcedPowerLimit");
        limit != nullptr && limit(device, &milliwatts) == 0)
      (*facts)["power_limit_w"] = std::to_string(milliwatts / 1000);
    unsigned long long millijoules = 0;
    if (const auto energy = Function<int (*)(void*, unsigned long long*)>("nvmlDeviceGetTotalEnergyConsumption");
        energy != nullptr && energy(device, &millijoules) == 0)
      (*facts)["energy_j"] = std::to_string(millijoules / 1000);
  }

 private:
  template <typename F>
  F Function(const char* name) const {
    return library_ == nullptr ? nullptr : reinterpret_cast<F>(dlsym(library_, name));
  }
  void* Find(const std::string& pci_bus) const {
    void* device = nullptr;
    const auto find = Function<int (*)(const char*, void**)>("nvmlDeviceGetHandleByPciBusId_v2");
    return ready_ && find != nullptr && find(pci_bus.c_str(), &device) == 0 ? device : nullptr;
  }
  void* const library_;
  bool ready_ = false;
};

int NumaNode(const std::string& pci_bus) {
  std::string path = pci_bus;
  std::transform(path.begin(), path.end(), path.begin(), [](unsigned char c) { return std::tolower(c); });
  int node = -1;
  std::ifstream("/sys/bus/pci/devices/" + path + "/numa_node") >> node;
  return node;
}

class CudaDriver : public Driver {
 public:
  static Result<std::unique_ptr<Driver>> Open() {
    int count = 0;
    if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
      (void)cudaGetLastError();
      return Error(Code::kDevice, "there is no GPU that CUDA can use",
                   error != cudaSuccess ? std::string(" (") + cudaGetErrorString(error) + ")" : std::string(),
                   ": run with --device cpu");
    }
    auto driver = std::make_unique<CudaDriver>();
    char bus[32] = {};
    ZO2_TRY(Check(cudaDeviceGetPCIBusId(bus, sizeof bus, kGpu), "say where it is"));
    driver->others_ = Management().UsedBytes(bus);  // before our context is made
    ZO2_TRY(Check(cudaSetDevice(kGpu), "be selected"));
    ZO2_TRY(Check(cudaFree(nullptr), "make a context"));
    ZO2_ASSIGN(const GpuMemory memory, driver->Memory());
    const uint64_t used = memory.total - memory.free;
    driver->context_ = used - std::min(used, driver->others_);
    cudaDeviceProp properties;
    ZO2_TRY(Check(cudaGetDeviceProperties(&properties, kGpu), "say what it is"));
    int cuda_driver = 0, cuda_runtime = 0;
    ZO2_TRY(Check(cudaDriverGetVersion(&cuda_driver), "say its driver's version"));
    ZO2_TRY(Check(cudaRuntimeGetVersion(&cuda_runtime), "say its runtime's version"));
    auto& facts = driver->facts_;
    facts["name"] = properties.name;
    facts["compute_capability"] = std::to_string(properties.major) + "." + std::to_string(properties.minor);
    facts["multiprocessors"] = std::to_string(properties.multiProcessorCount);
    facts["pci_bus"] = bus;
    facts["cuda_driver"] = VersionText(cuda_driver);
    facts["cuda_runtime"] = VersionText(cuda_runtime);
    driver->pci_bus_ = bus;
    driver->numa_node_ = NumaNode(bus);
    // One for the process, and never given back: cuBLAS keeps pointers into it.
    static void* reserve = nullptr;
    if (reserve == nullptr) {
      ZO2_TRY(Check(cudaMalloc(&reserve, kReserve), "reserve memory for its libraries"));
      ZO2_TRY(aten::InstallAllocator(reserve, static_cast<int64_t>(kReserve)));
    }
    driver->library_ = std::string(DeviceKernels().library) + ", sm_" + std::to_string(properties.major) +
                       std::to_string(properties.minor);
    driver->kernels_ = DeviceKernels();
    driver->kernels_.library = driver->library_;
    return std::unique_ptr<Driver>(std::move(driver));
  }
  std::map<std::string, std::string> facts() const override {
    std::map<std::string, std::string> facts = facts_;
    Management().Describe(pci_bus_, &facts);
    return facts;
  }
  int numa_node() const override { return numa_node_; }
  uint64_t library_bytes() const override { return kReserve; }
  const KernelTable& kernels() const override { return kernels_; }
  Result<GpuMemory> Memory() override {
    size_t free = 0, total = 0;
    ZO2_TRY(Check(cudaMemGetInfo(&free, &total), "say how much memory is free"));
    return GpuMemory{free, total, others_, context_};
  }

  Result<void*> Allocate(uint64_t bytes) override {
    void* memory = nullptr;
    if (const cudaError_t error = cudaMalloc(&memory, bytes); error != cudaSuccess) {
      (void)cudaGetLastError();
      Result<GpuMemory> left = Memory();
      return Error(Code::kDevice, "the GPU has no ", PrintBytes(bytes), " in one piece for the plan's arena",
                   left.ok() ? " (" + PrintBytes(left->free) + " of " + PrintBytes(left->total) + " are free)" : "", ": ",
                   cudaGetErrorString(error), "; plan again with a smaller budget");
    }
    return memory;
  }
  void Free(void* memory) override { (void)cudaFree(memory); }
  Status Zero(void* memory, uint64_t bytes) override {
    ZO2_TRY(Check(cudaMemset(memory, 0, bytes), "clear memory"));
    return Check(cudaDeviceSynchronize(), "clear memory");
  }
  Status Register(void* memory, uint64_t bytes) override {
    return Check(cudaHostRegister(memory, bytes, cudaHostRegisterPortable | cudaHostRegisterMapped), "pin host memory");
  }
  void Unregister(void* memory) override { (void)cudaHostUnregister(memory); }
  Status CopyNow(void* to, const void* from, uint64_t bytes) override {
    return Check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "copy");
  }

  Result<StreamHandle> CreateStream() override {
    cudaStream_t stream = nullptr;
    ZO2_TRY(Check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "make a stream"));
    return static_cast<StreamHandle>(stream);
  }
  void DestroyStream(StreamHandle stream) override { (void)cudaStreamDestroy(Stream(stream)); }
  Status MakeCurrent(StreamHandle stream, bool launches) override {
    ZO2_TRY(Check(cudaSetDevice(kGpu), "be selected"));
    if (!launches) return Status();
    ZO2_TRY(aten::BindStream(stream));
    return aten::WarmUp();
  }
  Status SynchronizeStream(StreamHandle stream) override {
    return Check(cudaStreamSynchronize(Stream(stream)), "finish its work");
  }

  Result<EventHandle> CreateEvent(bool timed) override {
    cudaEvent_t event = nullptr;
    ZO2_TRY(Check(cudaEventCreateWithFlags(&event, (timed ? 0 : cudaEventDisableTiming) | cudaEventBlockingSync), "make an event"));
    return static_cast<EventHandle>(event);
  }
  void DestroyEvent(EventHandle event) override { (void)cudaEventDestroy(AsEvent(event)); }
  Status Record(EventHandle event, StreamHandle stream) override {
    return Check(cudaEventRecord(AsEvent(event), Stream(stream)), "record an event");
  }
  Status Wait(StreamHandle stream, EventHandle event) override {
    return Check(cudaStreamWaitEvent(Stream(stream), AsEvent(event), 0), "wait for an event");
  }
  Status SynchronizeEvent(EventHandle event) override {
    return Check(cudaEventSynchronize(AsEvent(event)), "finish its work");
  }
  Result<double> Seconds(EventHandle from, EventHandle to) override {
    float milliseconds = 0;
    ZO2_TRY(Check(cudaEventElapsedTime(&milliseconds, AsEvent(from), AsEvent(to)), "tell the time between events"));
    return 1e-3 * static_cast<double>(milliseconds);
  }

  Status Copy(void* to, const void* from, uint64_t bytes, StreamHandle stream) override {
    return Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, Stream(stream)), "copy");
  }
  Status Run(StreamHandle, std::function<Status()> work) override {
    ZO2_TRY(work());
    return Check(cudaPeekAtLastError(), "launch a kernel");
  }
  Status Prepare(StreamHandle stream, const PrepareLaunch& launch) override { return LaunchPrepare(launch, stream); }
  Status Gradient(StreamHandle stream, const GradientLaunch& launch) override { return LaunchGradient(launch, stream); }

  Status BeginCapture(StreamHandle stream) override {
    return Check(cudaStreamBeginCapture(Stream(stream), cudaStreamCaptureModeThreadLocal), "begin a graph");
  }
  Result<GraphHandle> EndCapture(StreamHandle stream) override {
    cudaGraph_t graph = nullptr;
    ZO2_TRY(Check(cudaStreamEndCapture(Stream(stream), &graph), "end a graph"));
    cudaGraphExec_t executable = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    (void)cudaGraphDestroy(graph);
    ZO2_TRY(Check(error, "make a graph"));
    return static_cast<GraphHandle>(executable);
  }
  Status Launch(GraphHandle graph, StreamHandle stream) override {
    return Check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), Stream(stream)), "launch a graph");
  }
  void DestroyGraph(GraphHandle graph) override { (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

 private:
  std::map<std::string, std::string> facts_;
  std::string pci_bus_;
  int numa_node_ = -1;
  uint64_t others_ = 0, context_ = 0;
  std::string library_;
  KernelTable kernels_;
};

}  // namespace
}  // namespace zo2::cuda

extern "C" __attribute__((visibility("default"))) zo2::Result<std::unique_ptr<zo2::cuda::Driver>> zo2_cuda_open_driver() {
  return zo2::cuda::CudaDriver::Open();
}
