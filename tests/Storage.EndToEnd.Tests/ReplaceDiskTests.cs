using System.Globalization;
using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

/// <summary>A disk dies with the only newest copy of an object: what an operator does, and what is refused until they say so.</summary>
[Collection(ClusterCollection.Name)]
public sealed class ReplaceDiskTests(ClusterFixture cluster)
{
    private const string Sure = "--yes-i-really-mean-it";

    [Fact]
    public async Task WhatOnlyADeadDiskHeldIsGivenUpOnPurposeAndTheDiskIsReplaced()
    {
        await using OwnCluster own = await OwnCluster.UpAsync(cluster, "disk", 40, "--mons", "1", "--osds", "3");
        await own.OkAsync("pool", "create", "two", "--size", "2", "--min-size", "1", "--pg-num", "1", "--application", "object");
        await HealthAsync(own, "HEALTH_OK");
        string file = cluster.TempFile("replaced");
        string old = await Files.RandomAsync(file, 100_000, 3);
        await own.OkAsync("object", "put", "kept", file, "--pool", "two");
        await own.OkAsync("object", "put", "changed", file, "--pool", "two");
        (string group, string keeps, string dies) = await PlaceAsync(own);

        // One copy is away while the object changes, hears of the change when it is back, and does not get it before the other one dies.
        await own.OkAsync("osd", "set", "norecover");
        await own.OkAsync("osd", "set", "noout");
        await StopAsync(own, keeps);
        await Files.RandomAsync(file + ".new", 90_000, 4);
        await own.OkAsync("object", "put", "changed", file + ".new", "--pool", "two");
        await own.OkAsync("daemon", "start", $"osd.{keeps}");
        await HealthAsync(own, "PG_DEGRADED: Degraded data redundancy: 1 object copies missing", "OSD_DOWN");
        Assert.NotEqual(0, (await own.StorageAsync("osd", "ok-to-stop", dies)).ExitCode);
        await StopAsync(own, dies);
        await HealthAsync(own, $"pg {group} is down");

        // Each step is refused until it is confirmed, and says what it costs.
        await own.RefusedAsync("gives up acknowledged writes", "pg", "mark-unfound-lost", group, "revert");
        await own.RefusedAsync("has to be active first", "pg", "mark-unfound-lost", group, "revert", Sure);
        await own.RefusedAsync("gives up every write that only it holds", "osd", "lost", dies);
        await own.RefusedAsync("would be lost for good", "osd", "purge", dies);
        Assert.NotEqual(0, (await own.StorageAsync("osd", "safe-to-destroy", dies)).ExitCode);
        await own.OkAsync("osd", "lost", dies, Sure);
        await own.OkAsync("osd", "unset", "norecover");
        await HealthAsync(own, $"pg {group}: 1 unfound", "PG_AVAILABILITY");
        await own.RefusedAsync($"1 objects of pg {group} have no known copy", "pg", "mark-unfound-lost", group, "revert");
        await own.OkAsync("pg", "mark-unfound-lost", group, "revert", Sure);
        await own.OkAsync("osd", "purge", dies, Sure);
        await own.RefusedAsync($"osd.{dies} does not exist", "osd", "purge", dies, Sure);
        await own.OkAsync("osd", "unset", "noout");
        foreach (string name in new[] { "kept", "changed" })
        {
            await own.OkAsync("object", "get", name, file + ".back", "--pool", "two");
            Assert.Equal(old, await Files.HashAsync(file + ".back")); // the older version of what was changed
        }

        // A new disk under the same number.
        string folder = Path.Combine(own.Data, $"osd.{dies}");
        Directory.Delete(folder, recursive: true);
        string address = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{own.PortBase + 20 + int.Parse(dies, CultureInfo.InvariantCulture)}");
        (await own.PlainAsync("osd", "mkfs", "--data", folder, "--cluster", own.Data, "--size", "512MiB", "--listen", address, "--osd-id", dies, "--host", "localhost")).Expect();
        await own.OkAsync("daemon", "start", $"osd.{dies}");
        await HealthAsync(own, "HEALTH_OK");
        Assert.Equal(0, (await own.StorageAsync("osd", "ok-to-stop", dies)).Expect().ExitCode);
        await own.OkAsync("object", "get", "changed", file + ".back", "--pool", "two");
        Assert.Equal(old, await Files.HashAsync(file + ".back"));
    }

    private static async Task<(string Group, string Keeps, string Dies)> PlaceAsync(OwnCluster own)
    {
        using JsonDocument stat = await own.JsonAsync("object", "stat", "changed", "--pool", "two");
        string[] acting = [.. stat.RootElement.GetProperty("acting").EnumerateArray().Select(osd => osd.GetRawText())];
        return (stat.RootElement.GetProperty("pgid").GetString()!, acting[0], acting[1]);
    }

    private static async Task StopAsync(OwnCluster own, string osd)
    {
        await own.OkAsync("daemon", "stop", $"osd.{osd}");
        await own.WaitAsync($"osd.{osd} is down", async () =>
        {
            using JsonDocument dump = await own.JsonAsync("osd", "dump");
            return dump.RootElement.GetProperty("osds").EnumerateArray().Any(entry => entry.GetProperty("id").GetRawText() == osd && !entry.GetProperty("up").GetBoolean());
        });
    }

    private static Task HealthAsync(OwnCluster own, string text, string without = "HEALTH_ERR") => own.WaitAsync($"health shows {text}", async () =>
        (await own.StorageAsync("health", "--detail")).Output is var output && output.Contains(text, StringComparison.Ordinal) && !output.Contains(without, StringComparison.Ordinal));
}
