using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;

// What every operation is made of, one at a time; each with the bytes it allocates, which should be none.
//
//     dotnet run -c Release --project bench/Storage.Kernels.Bench -- --filter '*'
IConfig config = DefaultConfig.Instance.AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance));
return BenchmarkSwitcher.FromAssembly(typeof(Storage.Kernels.Bench.Checksums).Assembly).Run(args, config).Any() ? 0 : 1;
