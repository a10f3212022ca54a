using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

/// <summary>Failures on purpose: single faults heal by themselves, and a short scenario ends with a verdict.</summary>
[Collection(ClusterCollection.Name)]
public sealed class FaultTests(ClusterFixture cluster)
{
    [Fact]
    public async Task AtLeastTwelveScenariosShipAndEachIsShort()
    {
        using JsonDocument list = await cluster.JsonAsync("fault", "list");
        JsonElement[] scenarios = [.. list.RootElement.EnumerateArray()];
        Assert.True(scenarios.Length >= 12);
        Assert.All(scenarios, scenario => Assert.InRange(scenario.GetProperty("duration_ms").GetInt64(), 1000, 60_000));
    }

    [Fact]
    public async Task APausedDaemonGoesOnByItself()
    {
        await cluster.WholeAsync();
        (await cluster.StorageAsync("fault", "pause", "osd.2", "--for", "2s")).Expect();
        Assert.Equal('T', await StateAsync("osd.2"));
        using (JsonDocument status = await cluster.JsonAsync("fault", "status"))
        {
            Assert.Equal("pause", Assert.Single(status.RootElement.GetProperty("faults").EnumerateArray().ToArray()).GetProperty("fault").GetString());
        }

        await cluster.WaitAsync("osd.2 going on", async () => await StateAsync("osd.2") != 'T');
        await cluster.WaitAsync("no fault left", NoFaultsAsync);
        await cluster.WaitHealthyAsync();
    }

    [Fact]
    public async Task HealEndsACutAndStartsWhatWasKilled()
    {
        await cluster.WholeAsync();
        (await cluster.StorageAsync("fault", "cut", "osd.0", "osd.1", "--for", "5m")).Expect();
        (await cluster.StorageAsync("fault", "kill", "s3", "--for", "5m")).Expect();
        using (JsonDocument status = await cluster.JsonAsync("fault", "status"))
        {
            Assert.Equal(2, status.RootElement.GetProperty("faults").GetArrayLength());
            Assert.Contains(status.RootElement.GetProperty("within_daemons").EnumerateArray(), fault => fault.GetProperty("daemon").GetString() == "osd.1");
        }

        (await cluster.StorageAsync("fault", "heal")).Expect();
        Assert.True(await NoFaultsAsync());
        await cluster.WaitHealthyAsync();
        using JsonDocument daemons = await cluster.JsonAsync("daemons");
        Assert.All(daemons.RootElement.EnumerateArray(), daemon => Assert.True(daemon.GetProperty("running").GetBoolean(), daemon.GetProperty("name").GetString()));
    }

    [Fact]
    public async Task WrongFaultsAreRefusedWithAWayOut()
    {
        Assert.Contains("osd.0", (await cluster.StorageAsync("fault", "kill", "osd.17")).Expect(1).Error, StringComparison.Ordinal);
        Assert.Contains("--from-all", (await cluster.StorageAsync("fault", "cut", "osd.0")).Expect(1).Error, StringComparison.Ordinal);
        Assert.Contains("gateways", (await cluster.StorageAsync("fault", "cut", "nbd", "s3")).Expect(1).Error, StringComparison.Ordinal);
        Assert.Contains("name an OSD", (await cluster.StorageAsync("fault", "slow-disk", "mon.a")).Expect(1).Error, StringComparison.Ordinal);
        Assert.Contains("chaos", (await cluster.StorageAsync("fault", "run", "no-such")).Expect(1).Error, StringComparison.Ordinal);
        Assert.True(await NoFaultsAsync());
    }

    [Fact]
    public async Task TheFaultSocketIsForItsOwnerOnly()
    {
        await cluster.WholeAsync();
        Assert.Equal("600", (await Tool.RunAsync("stat", "-c", "%a", Path.Combine(cluster.Data, "osd.0", "fault.sock"))).Expect().Output.Trim());
    }

    /// <summary>The short pass: an OSD is killed, one is cut off, bits flip and a gateway dies, under clients of both gateways.</summary>
    [Fact]
    public async Task NothingIsLostUnderAShortScenarioAndItsHistorySaysSoAgain()
    {
        await cluster.WholeAsync();
        string scenario = cluster.TempFile("short.json");
        await File.WriteAllTextAsync(scenario, """
            {
              "version": 1,
              "description": "A short pass over several faults.",
              "duration": "13s",
              "workload": { "nbd_connections": 2, "nbd_depth": 3, "blocks": 512, "s3_clients": 2, "s3_keys": 12, "pause": "20ms" },
              "steps": [
                { "at": "0s", "fault": "kill", "target": "osd.primary", "for": "3s" },
                { "at": "5s", "fault": "bit-flip", "target": "osd.0", "count": 40 },
                { "at": "6s", "fault": "cut", "target": "osd.any", "peer": "osds", "for": "2s" },
                { "at": "11s", "fault": "kill", "target": "gateways", "for": "500ms" }
              ],
              "expect": { "errors": true, "health": ["OSD_READ_ERRORS", "OSD_SCRUB_ERRORS", "PG_DAMAGED"] }
            }
            """);
        Tool.Result result = await cluster.StorageAsync("fault", "run", scenario, "--seed", "3", "--json");

        // The count of read errors lives with the process, and would stay a warning.
        (await cluster.StorageAsync("fault", "restart", "osd.0")).Expect();
        using JsonDocument report = JsonDocument.Parse(result.Expect().Output);
        Assert.Equal("nothing lost", report.RootElement.GetProperty("verdict").GetString());
        Assert.Equal(4, report.RootElement.GetProperty("faults").GetArrayLength());
        Assert.True(report.RootElement.GetProperty("operations").GetInt32() > 500);

        string history = report.RootElement.GetProperty("history").GetString()!;
        (await cluster.StorageAsync("fault", "check", history)).Expect();

        // One acknowledged value taken out of what was read back: the check has to notice.
        string[] lines = await File.ReadAllLinesAsync(history);
        int last = Array.FindLastIndex(lines, line => line.Contains("\"client\":\"final\"", StringComparison.Ordinal) && line.Contains("\"name\":\"block ", StringComparison.Ordinal)
            && System.Text.RegularExpressions.Regex.IsMatch(line, "\"value\":[1-9]"));
        lines[last] = System.Text.RegularExpressions.Regex.Replace(lines[last], "\"value\":[1-9][0-9]*", "\"value\":0");
        string bad = cluster.TempFile("bad.jsonl");
        await File.WriteAllLinesAsync(bad, lines);
        Assert.Contains("VIOLATION", (await cluster.StorageAsync("fault", "check", bad)).Expect(1).Output, StringComparison.Ordinal);
    }

    private async Task<bool> NoFaultsAsync()
    {
        using JsonDocument status = await cluster.JsonAsync("fault", "status");
        return status.RootElement.GetProperty("faults").GetArrayLength() == 0 && status.RootElement.GetProperty("within_daemons").GetArrayLength() == 0;
    }

    private async Task<char> StateAsync(string name)
    {
        using JsonDocument daemons = await cluster.JsonAsync("daemons");
        int pid = daemons.RootElement.EnumerateArray().First(daemon => daemon.GetProperty("name").GetString() == name).GetProperty("pid").GetInt32();
        string stat = await File.ReadAllTextAsync($"/proc/{pid}/stat");
        return stat[stat.LastIndexOf(')') + 2];
    }
}
