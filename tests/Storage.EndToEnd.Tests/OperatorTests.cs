using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

/// <summary>The verbs of an operator on a live cluster with data in it: what they do, and what they refuse.</summary>
[Collection(ClusterCollection.Name)]
public sealed class OperatorTests(ClusterFixture cluster)
{
    private const string Sure = "--yes-i-really-mean-it";

    [Fact]
    public async Task EveryTableParsesAsJson()
    {
        await cluster.WholeAsync();
        string[][] verbs =
        [
            ["status"], ["health"], ["health", "--detail"], ["log", "last", "5"], ["mon", "status"], ["mon", "dump"], ["osd", "tree"], ["osd", "dump"], ["osd", "df"],
            ["osd", "ok-to-stop", "0"], ["osd", "crush", "tree"], ["osd", "crush", "rule", "ls"], ["pool", "ls"], ["pool", "autoscale-status"], ["pg", "ls"],
            ["pg", "ls", "--pool", "volumes"], ["pg", "dump"], ["pg", "query", "1.0"], ["pg", "list-inconsistent", "1.0"], ["crush", "export"], ["balancer", "plan"],
            ["config", "ls"], ["volume", "ls"], ["volume", "info", "demo"], ["volume", "lock", "show", "demo"], ["volume", "snapshot", "ls", "demo"],
            ["object", "ls", "--pool", "volumes"], ["endpoints"], ["daemons"], ["s3", "user", "ls"], ["fault", "list"], ["fault", "status"],
        ];

        // Several at once: most of a call is the start of its process.
        await Parallel.ForEachAsync(verbs, new ParallelOptions { MaxDegreeOfParallelism = 3 }, async (verb, _) =>
        {
            using JsonDocument reply = await cluster.JsonAsync(verb);
            Assert.NotEqual(JsonValueKind.Undefined, reply.RootElement.ValueKind);
        });
    }

    [Fact]
    public async Task WhatLosesDataIsRefusedWithWhatItWouldLose()
    {
        await cluster.WholeAsync();
        string file = cluster.TempFile("operator-object");
        string hash = await Files.RandomAsync(file, 3_000_017, 11);
        await OkAsync("pool", "create", "precious", "--size", "3", "--min-size", "2", "--pg-num", "8", "--failure-domain", "osd", "--application", "object");
        await cluster.WaitHealthyAsync();
        await OkAsync("object", "put", "kept", file, "--pool", "precious");

        // Too few OSDs would be left for three copies.
        await RefusedAsync("2 of the 3 places", "osd", "out", "0");
        await RefusedAsync("1 of the 3 places it needs (now 3): its I/O would stop", "osd", "out", "0", "1");
        await RefusedAsync("2 of the 3 places", "osd", "reweight", "0", "0");
        await RefusedAsync("2 of the 3 places", "osd", "crush", "reweight", "0", "0");
        await RefusedAsync("2 of the 3 places", "osd", "crush", "remove", "osd.0");
        await OkAsync("osd", "crush", "add-bucket", "elsewhere", "root");
        await RefusedAsync("no place", "osd", "crush", "move", "localhost", "root=elsewhere");
        await RefusedAsync("not empty", "osd", "crush", "remove", "default");
        await OkAsync("osd", "crush", "remove", "elsewhere");
        await RefusedAsync("uses rule", "osd", "crush", "rule", "rm", "replicated_rule");

        await RefusedAsync("is up", "osd", "lost", "0", Sure);
        await RefusedAsync("is up", "osd", "purge", "0", Sure);
        Assert.NotEqual(0, (await cluster.StorageAsync("osd", "safe-to-destroy", "0")).ExitCode);
        Assert.NotEqual(0, (await cluster.StorageAsync("osd", "ok-to-stop", "0", "1")).ExitCode);
        await RefusedAsync("the other 2 copies", "pool", "set", "precious", "size", "1");
        await RefusedAsync("on one disk only", "pool", "set", "precious", "min_size", "1");
        await RefusedAsync("never merged", "pool", "set", "precious", "pg_num", "4");
        await RefusedAsync("pool precious with", "pool", "rm", "precious");
        await RefusedAsync("gives up acknowledged writes", "pg", "mark-unfound-lost", "1.0", "revert");
        await RefusedAsync("there is no mon.z", "mon", "rm", "z");
        string map = cluster.TempFile("crush.txt");
        await OkAsync("crush", "export", "-o", map);
        await File.WriteAllTextAsync(map + ".cut", (await File.ReadAllTextAsync(map)).Replace("item osd.2 ", "# ", StringComparison.Ordinal));
        await RefusedAsync("2 of the 3 places", "crush", "import", map + ".cut");

        // With the word they are carried out, and what is undone is whole again.
        await OkAsync("osd", "out", "0", Sure);
        await StateAsync("osd.0 is out", osds => !osds[0].GetProperty("in").GetBoolean());
        await OkAsync("osd", "in", "0");
        await OkAsync("crush", "import", map + ".cut", Sure);
        await OkAsync("crush", "import", map);
        await OkAsync("pool", "set", "precious", "min_size", "1", Sure);
        await OkAsync("pool", "set", "precious", "min_size", "2");
        await cluster.WaitHealthyAsync();
        await OkAsync("object", "get", "kept", file + ".back", "--pool", "precious");
        Assert.Equal(hash, await Files.HashAsync(file + ".back"));
        await OkAsync("pool", "set", "precious", "size", "1", Sure);
        await OkAsync("pool", "rm", "precious", Sure);
        await RefusedAsync("no pool", "pool", "rm", "precious");
        Assert.Contains("pool 'precious' removed", (await cluster.StorageAsync("log", "last", "30")).Expect().Output, StringComparison.Ordinal);
        await cluster.WaitHealthyAsync();
    }

    [Fact]
    public async Task ADeadOsdIsDeclaredLostOnlyOnPurposeAndAMonitorGoesOnlyWhileAMajorityStays()
    {
        await cluster.WholeAsync();
        await cluster.StopAsync("osd.2");
        await cluster.WaitAsync("osd.2 is down", async () =>
        {
            using JsonDocument dump = await cluster.JsonAsync("osd", "dump");
            return !dump.RootElement.GetProperty("osds")[2].GetProperty("up").GetBoolean();
        });
        await RefusedAsync("gives up every write that only it holds", "osd", "lost", "2");
        await RefusedAsync("would be lost for good", "osd", "purge", "2");
        await OkAsync("osd", "lost", "2", Sure);
        await cluster.StartAsync("osd.2"); // its data is there all the same
        await cluster.WaitHealthyAsync();

        string dead = await cluster.LeaderAsync();
        string alive = dead == "mon.a" ? "b" : "a";
        await cluster.KillAsync(dead);
        await cluster.WaitAsync("two monitors in the quorum", async () =>
        {
            using JsonDocument status = await cluster.JsonAsync("mon", "status");
            return status.RootElement.GetProperty("leader").GetString() is { Length: > 0 } && status.RootElement.GetProperty("quorum").GetArrayLength() == 2;
        });
        await RefusedAsync("no majority", "mon", "rm", alive);
        await cluster.StartAsync(dead);
        await cluster.WaitHealthyAsync();
    }

    [Fact]
    public async Task WhatIsHarmlessTakesEffectAndIsUndone()
    {
        await cluster.WholeAsync();
        await OkAsync("osd", "set", "noout");
        await HealthAsync("OSDMAP_FLAGS");
        await OkAsync("health", "mute", "OSDMAP_FLAGS", "--for", "3s");
        await HealthAsync("HEALTH_OK");
        await HealthAsync("HEALTH_WARN"); // the mute expires
        await OkAsync("osd", "unset", "noout");
        await RefusedAsync("is no flag", "osd", "set", "nosuch");
        await RefusedAsync("there is no health check", "health", "mute", "NOSUCH");

        await OkAsync("osd", "down", "1"); // it comes up again by itself
        await cluster.WaitHealthyAsync();
        await OkAsync("osd", "reweight", "1", "0.9");
        await StateAsync("osd.1 has reweight 0.9", osds => Math.Abs(osds[1].GetProperty("reweight").GetDouble() - 0.9) < 0.01);
        await OkAsync("osd", "reweight", "1", "1");
        await RefusedAsync("from 0 to 1", "osd", "reweight", "1", "7");

        // Settings are applied live.
        await OkAsync("config", "set", "osd.1", "osd_memory_target", "300MiB");
        Assert.Contains("300MiB", (await cluster.StorageAsync("config", "get", "osd.1", "osd_memory_target")).Expect().Output, StringComparison.Ordinal);
        await OkAsync("config", "rm", "osd.1", "osd_memory_target");
        await OkAsync("config", "set", "mon", "mon_osd_nearfull_ratio", "0.5");
        Assert.Contains("nearfull 0.5,", (await cluster.StorageAsync("osd", "dump")).Expect().Output, StringComparison.Ordinal);
        await OkAsync("config", "rm", "mon", "mon_osd_nearfull_ratio");
        await RefusedAsync("there is no setting", "config", "set", "osd", "nosuch", "3");
        await RefusedAsync("must be a number", "config", "set", "mon", "mon_osd_full_ratio", "7");

        await OkAsync("osd", "crush", "add-bucket", "rack1", "rack", "root=default");
        await OkAsync("osd", "crush", "rename-bucket", "rack1", "rack2");
        await OkAsync("osd", "crush", "remove", "rack2");
        await OkAsync("osd", "crush", "rule", "create-replicated", "fast", "default", "osd", "ssd");
        await OkAsync("osd", "crush", "rule", "rm", "fast");
        string map = cluster.TempFile("crush-test.txt");
        await OkAsync("crush", "export", "-o", map);
        Assert.Contains("[0,", (await Tool.RunAsync(Path.Combine(cluster.Root, "cluster/storage"), "crush", "test", map, "--rule", "0", "--num-rep", "3", "--min-x", "0", "--max-x", "99", "--show-mappings")).Expect().Output, StringComparison.Ordinal);
        await OkAsync("pg", "scrub", "1.0");
        await RefusedAsync("there is no PG", "pg", "query", "99.0");
        await cluster.WaitHealthyAsync();
    }

    private async Task OkAsync(params string[] arguments) => (await cluster.StorageAsync(arguments)).Expect();

    private async Task RefusedAsync(string reason, params string[] arguments) =>
        Assert.Contains(reason, (await cluster.StorageAsync(arguments)).Expect(1).Error, StringComparison.Ordinal);

    private Task HealthAsync(string text) => cluster.WaitAsync(
        $"health shows {text}", async () => (await cluster.StorageAsync("health", "--detail")).Output.Contains(text, StringComparison.Ordinal));

    private async Task StateAsync(string what, Func<JsonElement, bool> holds)
    {
        using JsonDocument dump = await cluster.JsonAsync("osd", "dump");
        Assert.True(holds(dump.RootElement.GetProperty("osds")), what);
    }
}
