using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Storage.ObjectStore.Bench;

/// <summary>fio on the raw file: what the disk gives to a program that does nothing else.</summary>
internal static class FioRun
{
    public static void Run(BenchSettings settings, string file)
    {
        Row(settings, file, "fio 4 KiB randwrite sync QD1", "--rw=randwrite --bs=4k --iodepth=1 --sync=dsync", 4096);
        Row(settings, file, "fio 4 KiB randwrite sync QD32", "--rw=randwrite --bs=4k --iodepth=32 --sync=dsync", 4096);
        Row(settings, file, "fio 4 MiB write sync QD4", "--rw=write --bs=4m --iodepth=4 --sync=dsync", 4 << 20);
        Row(settings, file, "fio 4 MiB read QD4", "--rw=read --bs=4m --iodepth=4", 4 << 20);
        Row(settings, file, "fio 4 KiB randread QD32", "--rw=randread --bs=4k --iodepth=32", 4096);
    }

    private static void Row(BenchSettings settings, string file, string name, string load, long bytes)
    {
        var start = new ProcessStartInfo("fio") { RedirectStandardOutput = true, UseShellExecute = false };
        string arguments = string.Create(
            CultureInfo.InvariantCulture,
            $"--name=raw --filename={file} --ioengine=io_uring --direct=1 --size={settings.Size} --runtime={settings.Duration.TotalSeconds:F0} --time_based --output-format=json --randrepeat=0 {load}");
        foreach (string word in arguments.Split(' '))
        {
            start.ArgumentList.Add(word);
        }

        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"fio ended with {process.ExitCode}");
        }

        using var json = JsonDocument.Parse(output[output.IndexOf('{', StringComparison.Ordinal)..]);
        JsonElement job = json.RootElement.GetProperty("jobs")[0];
        JsonElement part = job.GetProperty(load.Contains("read", StringComparison.Ordinal) ? "read" : "write");
        double rate = part.GetProperty("iops").GetDouble();
        JsonElement latency = part.GetProperty("clat_ns");
        JsonElement percentiles = latency.GetProperty("percentile");
        double cpu = (job.GetProperty("usr_cpu").GetDouble() + job.GetProperty("sys_cpu").GetDouble()) / 100 * 1e6 / Math.Max(1, rate);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{name,-34} {rate,9:F0} {rate * bytes / 1e6,8:F1} {latency.GetProperty("mean").GetDouble() / 1000,9:F0} {percentiles.GetProperty("99.000000").GetDouble() / 1000,9:F0} {percentiles.GetProperty("99.900000").GetDouble() / 1000,9:F0} {latency.GetProperty("max").GetDouble() / 1000,9:F0} {"-",9} {cpu,9:F1}"));
    }
}
