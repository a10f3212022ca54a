using System.Net.Sockets;
using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

[Collection(ClusterCollection.Name)]
public sealed class ClusterTests(ClusterFixture cluster)
{
    [Fact]
    public async Task StatusIsHealthyWithThreeMonitorsAndThreeOsds()
    {
        await cluster.WholeAsync();
        using JsonDocument status = await cluster.JsonAsync("status");
        Assert.Equal(3, status.RootElement.GetProperty("quorum").GetProperty("in_quorum").GetArrayLength());
        Assert.Equal(3, status.RootElement.GetProperty("osds").GetProperty("up").GetInt32());
        Assert.Contains("HEALTH_OK", (await cluster.StorageAsync("health")).Expect().Output, StringComparison.Ordinal);
        Assert.Contains("osd.2", (await cluster.StorageAsync("osd", "tree")).Expect().Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task EveryDaemonIsAProcessOfItsOwn()
    {
        await cluster.WholeAsync();
        using JsonDocument daemons = await cluster.JsonAsync("daemons");
        JsonElement[] all = [.. daemons.RootElement.EnumerateArray()];
        Assert.Equal(8, all.Length);
        Assert.All(all, daemon => Assert.True(daemon.GetProperty("running").GetBoolean()));
        Assert.Equal(8, all.Select(daemon => daemon.GetProperty("pid").GetInt32()).Distinct().Count());
        Assert.All(all, daemon => Assert.True(Directory.Exists(daemon.GetProperty("data").GetString())));
    }

    [Fact]
    public async Task UpOnARunningClusterChangesNothing()
    {
        await cluster.WholeAsync();
        using JsonDocument before = await cluster.JsonAsync("daemons");
        await cluster.UpAsync();
        using JsonDocument after = await cluster.JsonAsync("daemons");
        Assert.Equal(before.RootElement.GetRawText(), after.RootElement.GetRawText());
    }

    [Fact]
    public async Task CredentialsAreReadableByTheirOwnerOnly()
    {
        Tool.Result mode = await Tool.RunAsync("stat", "-c", "%a", Path.Combine(cluster.Data, "s3-credentials.json"));
        Assert.Equal("600", mode.Expect().Output.Trim());
    }

    [Fact]
    public async Task ObjectsAreStoredAndFoundAgain()
    {
        string file = cluster.TempFile("object");
        string hash = await Files.RandomAsync(file, 9_000_001, 2);
        (await cluster.StorageAsync("object", "put", "some thing", file, "--pool", "volumes")).Expect();
        Assert.Contains("some thing", (await cluster.StorageAsync("object", "ls", "--pool", "volumes")).Expect().Output, StringComparison.Ordinal);
        using (JsonDocument stat = await cluster.JsonAsync("object", "stat", "some thing", "--pool", "volumes"))
        {
            Assert.Equal(9_000_001, stat.RootElement.GetProperty("size").GetInt64());
        }

        (await cluster.StorageAsync("object", "get", "some thing", file + ".back", "--pool", "volumes")).Expect();
        Assert.Equal(hash, await Files.HashAsync(file + ".back"));
        (await cluster.StorageAsync("object", "rm", "some thing", "--pool", "volumes")).Expect();
        Tool.Result gone = await cluster.StorageAsync("object", "get", "some thing", "--pool", "volumes");
        gone.Expect(1);
        Assert.Contains("there is no object", gone.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("write")]
    [InlineData("read")]
    public async Task ABenchmarkOfAPoolReportsAndLeavesNothing(string mode)
    {
        using JsonDocument report = await cluster.JsonAsync(
            "object", "bench", mode, "--pool", "volumes", "--seconds", "1", "--depth", "4", "--objects", "8", "--object-size", "64KiB");
        JsonElement figures = report.RootElement;
        Assert.True(figures.GetProperty("operations").GetInt64() > 4);
        Assert.InRange(figures.GetProperty("p99_ms").GetDouble(), 0.001, figures.GetProperty("max_ms").GetDouble());
        Assert.DoesNotContain("bench-", (await cluster.StorageAsync("object", "ls", "--pool", "volumes")).Expect().Output, StringComparison.Ordinal);
        Assert.Contains("does not divide", (await cluster.StorageAsync("object", "bench", mode, "--pool", "volumes", "--block-size", "3KiB")).Expect(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task VolumesAreCreatedResizedRenamedAndRemoved()
    {
        string name = await cluster.VolumeAsync("64MiB");
        Assert.Contains("exists", (await cluster.StorageAsync("volume", "create", name, "--size", "64MiB")).Expect(1).Error, StringComparison.Ordinal);
        (await cluster.StorageAsync("volume", "resize", name, "--size", "128MiB")).Expect();
        (await cluster.StorageAsync("volume", "rename", name, name + "-new")).Expect();
        using (JsonDocument info = await cluster.JsonAsync("volume", "info", name + "-new"))
        {
            Assert.Equal(128 << 20, info.RootElement.GetProperty("size").GetInt64());
        }

        (await cluster.StorageAsync("volume", "rm", name + "-new")).Expect();
        (await cluster.StorageAsync("volume", "info", name + "-new")).Expect(1);
    }

    [Fact]
    public async Task UnknownVolumesAndWrongArgumentsAreRefusedClearly()
    {
        Tool.Result unknown = await Tool.RunAsync("nbdinfo", $"{cluster.Nbd}/no-such-volume");
        Assert.NotEqual(0, unknown.ExitCode);
        Assert.Contains("no-such-volume", (await cluster.StorageAsync("volume", "info", "no-such-volume")).Expect(1).Error, StringComparison.Ordinal);
        Assert.Contains("no size", (await cluster.StorageAsync("volume", "create", "x", "--size", "huge")).Expect(1).Error, StringComparison.Ordinal);
        Assert.Contains("loopback", (await cluster.StorageAsync("s3", "run", "--listen", "0.0.0.0:9000")).Expect(1).Error, StringComparison.Ordinal);
        Assert.Contains("no cluster", (await Tool.RunAsync(Path.Combine(cluster.Root, "cluster/storage"), "status", "--data", "/nonexistent")).Expect(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task GarbageOnEveryPortEndsThatConnectionAndNothingElse()
    {
        await cluster.WholeAsync();
        int[] ports = [.. Enumerable.Range(0, 3), 8, 9, .. Enumerable.Range(10, 3), .. Enumerable.Range(20, 3)];
        var random = new Random(3);
        foreach (int port in ports)
        {
            foreach (int length in (int[])[1, 64, 4096, 300_000])
            {
                byte[] garbage = new byte[length];
                random.NextBytes(garbage);
                using var tcp = new TcpClient();
                await tcp.ConnectAsync("127.0.0.1", cluster.PortBase + port);
                NetworkStream stream = tcp.GetStream();
                try
                {
                    await stream.WriteAsync(garbage);
                    tcp.Client.Shutdown(SocketShutdown.Send);
                    using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(40));
                    byte[] sink = new byte[4096];
                    while (await stream.ReadAsync(sink, patience.Token) > 0)
                    {
                        // A greeting or an error; then the end.
                    }
                }
                catch (IOException)
                {
                    // Reset: refused as well.
                }
            }
        }

        using JsonDocument daemons = await cluster.JsonAsync("daemons");
        Assert.All(daemons.RootElement.EnumerateArray(), daemon => Assert.True(daemon.GetProperty("running").GetBoolean(), daemon.GetProperty("name").GetString()));
        await cluster.WaitHealthyAsync();
    }
}
