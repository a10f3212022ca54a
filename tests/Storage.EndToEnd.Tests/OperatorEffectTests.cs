using System.Diagnostics;
using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

/// <summary>Switches, settings and edits do on a live cluster what they are for.</summary>
[Collection(ClusterCollection.Name)]
public sealed class OperatorEffectTests(ClusterFixture cluster)
{
    private const string Sure = "--yes-i-really-mean-it";
    private readonly string _file = cluster.TempFile("effect-object");

    [Fact]
    public async Task FlagsHoldBackWhatTheyName()
    {
        await cluster.WholeAsync();
        await Files.RandomAsync(_file, 500_000, 21);

        // pause: client I/O waits, and goes on.
        await OkAsync("osd", "set", "pause");
        Task put = OkAsync("object", "put", "paused", _file, "--pool", "volumes");
        await OkAsync("osd", "tree");
        await OkAsync("pg", "ls");
        Assert.False(put.IsCompleted);
        await OkAsync("osd", "unset", "pause");
        await put;

        // noup: who was marked down stays down.
        await OkAsync("osd", "set", "noup");
        await OkAsync("osd", "down", "1");
        await HoldsAsync("osd.1 stays down", TimeSpan.FromSeconds(2), 1, osd => !osd.GetProperty("up").GetBoolean());
        await OkAsync("osd", "unset", "noup");
        await cluster.WaitHealthyAsync();

        // nodown: what is dead counts as up.
        await OkAsync("osd", "set", "nodown");
        await cluster.KillAsync("osd.2");
        await HoldsAsync("osd.2 counts as up", TimeSpan.FromSeconds(2), 2, osd => osd.GetProperty("up").GetBoolean());
        await OkAsync("osd", "unset", "nodown");
        await OsdAsync(2, "is down", osd => !osd.GetProperty("up").GetBoolean());

        // noout against an interval that has passed; the setting is in effect at once.
        await OkAsync("osd", "set", "noout");
        await OkAsync("config", "set", "mon", "mon_osd_down_out_interval", "1");
        await HoldsAsync("osd.2 stays in", TimeSpan.FromSeconds(3), 2, osd => osd.GetProperty("in").GetBoolean());
        await OkAsync("osd", "unset", "noout");
        await OsdAsync(2, "is out", osd => !osd.GetProperty("in").GetBoolean());
        await OkAsync("config", "rm", "mon", "mon_osd_down_out_interval");

        // norecover: a copy that is behind stays behind.
        await OkAsync("osd", "set", "norecover");
        await OkAsync("object", "put", "paused", _file, "--pool", "volumes");
        await cluster.StartAsync("osd.2");
        await OsdAsync(2, "is up and in", osd => osd.GetProperty("up").GetBoolean() && osd.GetProperty("in").GetBoolean());
        Stopwatch watch = Stopwatch.StartNew();
        while (watch.Elapsed < TimeSpan.FromSeconds(2))
        {
            Assert.Contains("OSDMAP_FLAGS", (await cluster.StorageAsync("health", "--detail")).Output, StringComparison.Ordinal);
            Assert.NotEqual("active+clean", await StateOfAsync("paused"));
        }

        await OkAsync("osd", "unset", "norecover");
        await cluster.WaitHealthyAsync();
        await OkAsync("object", "rm", "paused", "--pool", "volumes");
    }

    [Fact]
    public async Task EverySettingOfAPoolTakesEffect()
    {
        await cluster.WholeAsync();
        string hash = await Files.RandomAsync(_file, 300_000, 22);
        await OkAsync("pool", "create", "set", "--size", "2", "--pg-num", "4", "--application", "object");
        await OkAsync("object", "put", "one", _file, "--pool", "set");

        await OkAsync("pool", "set", "set", "quota_objects", "1");
        await cluster.WaitAsync("POOL_FULL", async () => (await cluster.StorageAsync("health")).Output.Contains("quota", StringComparison.Ordinal));
        await cluster.WaitAsync("a refused write", async () => (await cluster.StorageAsync("object", "put", "two", _file, "--pool", "set")).ExitCode != 0);
        await OkAsync("object", "get", "one", _file + ".back", "--pool", "set"); // reads go on
        await OkAsync("pool", "set", "set", "quota_objects", "0");
        await OkAsync("pool", "set", "set", "quota_bytes", "200KiB");
        await cluster.WaitAsync("a refused write", async () => (await cluster.StorageAsync("object", "put", "two", _file, "--pool", "set")).ExitCode != 0);
        await OkAsync("pool", "set", "set", "quota_bytes", "0");
        await cluster.WaitAsync("an accepted write", async () => (await cluster.StorageAsync("object", "put", "two", _file, "--pool", "set")).ExitCode == 0);

        await OkAsync("pool", "set", "set", "compression", "zstd");
        await OkAsync("pool", "set", "set", "pg_autoscale_mode", "warn");
        await OkAsync("pool", "set", "set", "target_size_ratio", "2.5");
        await OkAsync("pool", "set", "set", "application", "tests");
        await OkAsync("pool", "set", "set", "size", "3");
        await OkAsync("pool", "set", "set", "min_size", "2");
        await OkAsync("pool", "set", "set", "pg_num", "8");
        await OkAsync("osd", "crush", "rule", "create-replicated", "set_rule", "default", "osd");
        await OkAsync("pool", "set", "set", "rule", "set_rule");
        await RefusedAsync("uses rule", "osd", "crush", "rule", "rm", "set_rule");
        await OkAsync("pool", "set", "set", "name", "renamed");
        using (JsonDocument pools = await cluster.JsonAsync("pool", "ls"))
        {
            JsonElement pool = pools.RootElement.GetProperty("pools").EnumerateArray().Single(entry => entry.GetProperty("name").GetString() == "renamed");
            Assert.Equal(("3", "2", "8", "set_rule", "tests", "zstd"), (
                pool.GetProperty("size").GetRawText(), pool.GetProperty("min_size").GetRawText(), pool.GetProperty("pg_num").GetRawText(),
                pool.GetProperty("rule").GetString(), pool.GetProperty("application").GetString(), pool.GetProperty("compression").GetString()));
        }

        using (JsonDocument scale = await cluster.JsonAsync("pool", "autoscale-status"))
        {
            JsonElement pool = scale.RootElement.GetProperty("pools").EnumerateArray().Single(entry => entry.GetProperty("pool").GetString() == "renamed");
            Assert.Equal(("warn", 2.5), (pool.GetProperty("mode").GetString(), pool.GetProperty("target_size_ratio").GetDouble()));
        }

        await RefusedAsync("add OSDs", "pool", "create", "many", "--pg-num", "1024");
        await OkAsync("pool", "set", "renamed", "pg_autoscale_mode", "off");
        await cluster.WaitHealthyAsync();
        await OkAsync("object", "get", "one", _file + ".back", "--pool", "renamed");
        Assert.Equal(hash, await Files.HashAsync(_file + ".back"));
        await OkAsync("pool", "rm", "renamed", Sure);
        await OkAsync("osd", "crush", "rule", "rm", "set_rule");
        await cluster.WaitHealthyAsync();
    }

    [Fact]
    public async Task TheHierarchyPlacesDataAndTheBalancerEvensItOut()
    {
        await cluster.WholeAsync();
        string map = cluster.TempFile("before.txt");
        await OkAsync("crush", "export", "-o", map);

        // A class, a rule for it, a pool by the rule: its data is on that class alone.
        await OkAsync("osd", "crush", "set-device-class", "fast", "0", "1");
        await OkAsync("pool", "create", "classed", "--size", "2", "--pg-num", "8", "--device-class", "fast", "--application", "object");
        await cluster.WaitHealthyAsync();
        Assert.DoesNotContain(2, await ActingAsync("classed"));
        await OkAsync("pool", "rm", "classed", Sure);

        // An OSD on a host of its own.
        await OkAsync("osd", "crush", "add-bucket", "shelf", "host", "root=default");
        await OkAsync("osd", "crush", "move", "osd.2", "root=default", "host=shelf");
        using (JsonDocument tree = await cluster.JsonAsync("osd", "tree"))
        {
            JsonElement shelf = tree.RootElement.GetProperty("nodes").EnumerateArray().Single(node => node.GetProperty("name").GetString() == "shelf");
            Assert.Equal("[2]", string.Concat(shelf.GetProperty("children").GetRawText().Where(c => !char.IsWhiteSpace(c))));
        }

        await cluster.WaitHealthyAsync();
        await OkAsync("crush", "test", map, "--rule", "0", "--num-rep", "3", "--min-x", "0", "--max-x", "9", "--show-mappings"); // also with --data before it
        await OkAsync("crush", "import", map);
        await cluster.WaitHealthyAsync();
        await RefusedAsync("fast", "osd", "crush", "rule", "create-replicated", "none", "default", "osd", "fast");

        // Copies on two of three OSDs can be uneven.
        await OkAsync("pool", "create", "uneven", "--size", "2", "--pg-num", "64", "--application", "object");
        await cluster.WaitHealthyAsync();
        double before = await WorstAsync("plan");
        await WorstAsync("run");
        await cluster.WaitHealthyAsync();
        double after = await WorstAsync("plan");
        Assert.True(after <= before && after <= 2, $"farthest from its share: {before} PGs, then {after}");
        await OkAsync("pool", "rm", "uneven", Sure);
        await cluster.WaitHealthyAsync();
    }

    [Fact]
    public async Task AFlippedBitIsFoundByScrubAndRepaired()
    {
        await cluster.WholeAsync();
        string hash = await Files.RandomAsync(_file, 4_000_000, 23);
        await OkAsync("pool", "create", "flipped", "--size", "3", "--pg-num", "1", "--application", "object");
        await OkAsync("object", "put", "whole", _file, "--pool", "flipped");
        await cluster.WaitHealthyAsync();
        string group;
        using (JsonDocument stat = await cluster.JsonAsync("object", "stat", "whole", "--pool", "flipped"))
        {
            group = stat.RootElement.GetProperty("pgid").GetString()!;
        }

        (await cluster.StorageAsync("fault", "bit-flip", "osd.1", "--count", "64", "--seed", "5")).Expect();
        Assert.NotEqual(0, await CheckDiskAsync());
        await cluster.WaitHealthyAsync();
        long start = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        await OkAsync("pg", "deep-scrub", group);
        await OkAsync("osd", "repair", "all");
        await cluster.WaitAsync("every PG scrubbed", async () =>
        {
            using JsonDocument list = await cluster.JsonAsync("pg", "ls");
            return list.RootElement.GetProperty("pgs").EnumerateArray().All(pg => pg.GetProperty("last_deep_scrub_unix_ms").GetInt64() >= start);
        });
        await cluster.WaitAsync("no damage", async () => (await cluster.StorageAsync("health", "--detail")).Output is var health
            && !health.Contains("PG_DAMAGED", StringComparison.Ordinal) && !health.Contains("OSD_READ_ERRORS", StringComparison.Ordinal));
        Assert.Equal(0, await CheckDiskAsync());
        await OkAsync("osd", "clear-errors", "1");
        await cluster.WaitHealthyAsync();
        await OkAsync("object", "get", "whole", _file + ".back", "--pool", "flipped");
        Assert.Equal(hash, await Files.HashAsync(_file + ".back"));
        await OkAsync("pool", "rm", "flipped", Sure);
    }

    private async Task OkAsync(params string[] arguments) => (await cluster.StorageAsync(arguments)).Expect();

    private async Task RefusedAsync(string reason, params string[] arguments) =>
        Assert.Contains(reason, (await cluster.StorageAsync(arguments)).Expect(1).Error, StringComparison.Ordinal);

    // Reads every block of osd.1's store, which has to be stopped for it.
    private async Task<int> CheckDiskAsync()
    {
        await cluster.StopAsync("osd.1");
        Tool.Result check = await Tool.RunAsync(Path.Combine(cluster.Root, "cluster/storage"), "store", "fsck", "--data", Path.Combine(cluster.Data, "osd.1"));
        await cluster.StartAsync("osd.1");
        await OsdAsync(1, "is up", osd => osd.GetProperty("up").GetBoolean());
        return check.ExitCode;
    }

    private async Task<double> WorstAsync(string verb)
    {
        using JsonDocument plan = await cluster.JsonAsync("balancer", verb);
        return plan.RootElement.GetProperty("worst_before").GetDouble();
    }

    private async Task<int[]> ActingAsync(string pool)
    {
        using JsonDocument list = await cluster.JsonAsync("pg", "ls", "--pool", pool);
        return [.. list.RootElement.GetProperty("pgs").EnumerateArray().SelectMany(pg => pg.GetProperty("acting").EnumerateArray().Select(osd => osd.GetInt32())).Distinct()];
    }

    private async Task<string> StateOfAsync(string name)
    {
        using JsonDocument stat = await cluster.JsonAsync("object", "stat", name, "--pool", "volumes");
        using JsonDocument list = await cluster.JsonAsync("pg", "ls", "--pool", "volumes");
        string group = stat.RootElement.GetProperty("pgid").GetString()!;
        return list.RootElement.GetProperty("pgs").EnumerateArray().Single(pg => pg.GetProperty("pgid").GetString() == group).GetProperty("state").GetString()!;
    }

    private Task OsdAsync(int osd, string what, Func<JsonElement, bool> holds) => cluster.WaitAsync($"osd.{osd} {what}", async () =>
    {
        using JsonDocument dump = await cluster.JsonAsync("osd", "dump");
        return holds(dump.RootElement.GetProperty("osds")[osd]);
    });

    // Something that must not happen is looked for again and again for a while.
    private async Task HoldsAsync(string what, TimeSpan time, int osd, Func<JsonElement, bool> holds)
    {
        for (Stopwatch watch = Stopwatch.StartNew(); watch.Elapsed < time;)
        {
            using JsonDocument dump = await cluster.JsonAsync("osd", "dump");
            Assert.True(holds(dump.RootElement.GetProperty("osds")[osd]), what);
        }
    }
}
