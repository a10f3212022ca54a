using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

/// <summary>Monitors come and go, on a cluster of its own, while a guest writes.</summary>
[Collection(ClusterCollection.Name)]
public sealed class MembershipTests(ClusterFixture cluster)
{
    // What a guest may wait for at most, on a machine that does other things as well.
    private static readonly TimeSpan s_longestWrite = TimeSpan.FromSeconds(5);
    private (ulong Term, uint Epoch) _last;

    [Fact]
    public async Task MonitorsGrowFromOneToFiveAndShrinkToOneWhileAGuestWrites()
    {
        await using OwnCluster own = await OwnCluster.UpAsync(cluster, "members", 70, "--mons", "1", "--osds", "3");
        await own.OkAsync("volume", "create", "guest", "--size", "8MiB");
        var writer = new VerifiedWriter(own.NbdPort, "guest", 2048);
        await QuorumAsync(own, "a");
        await own.RefusedAsync("only monitor", "mon", "rm", "a");
        await WrongOnesAreRefusedAsync(own);

        foreach ((string name, string all) in new[] { ("b", "ab"), ("c", "abc"), ("d", "abcd"), ("e", "abcde") })
        {
            await own.OkAsync("mon", "add", name);
            await QuorumAsync(own, all);
        }

        string left = "abcde";
        while (left.Length > 1)
        {
            // The leader goes first, then one that follows, and so on.
            string leader = await QuorumAsync(own, left);
            string gone = left.Length % 2 == 1 ? leader : left.First(name => $"{name}" != leader).ToString();
            await own.OkAsync("mon", "rm", gone);
            left = left.Replace(gone, "", StringComparison.Ordinal);
            await QuorumAsync(own, left);
            if (left.Length == 4)
            {
                await own.RefusedAsync($"there is no mon.{gone}", "mon", "rm", gone);
                await AssertEndsAsync(own, gone);
            }
        }

        await own.RefusedAsync("only monitor", "mon", "rm", left);
        TimeSpan longest = writer.TakeLongest();
        await writer.EndAndVerifyAsync();
        Assert.True(longest < s_longestWrite, $"a write took {longest}");
        Assert.True(writer.Written > 1000, $"only {writer.Written} writes");
    }

    // Before the map knows of them: a monitor that never comes would be one that is down for ever.
    private async Task WrongOnesAreRefusedAsync(OwnCluster own)
    {
        string folder = Path.Combine(own.Data, "elsewhere");
        await own.RefusedAsync("is no address", "mon", "add", "x", "--address", "nowhere", "--admin-address", "127.0.0.1:1");
        await own.RefusedAsync("nobody can connect", "mon", "add", "x", "--address", "0.0.0.0:7777", "--admin-address", "127.0.0.1:7778");
        await own.RefusedAsync("not loopback", "mon", "add", "x", "--address", "192.0.2.1:7777", "--admin-address", "192.0.2.1:7778", "--folder", folder);
        await own.RefusedAsync("osd.1 has the address", "mon", "add", "x", "--address", At(own, 21), "--admin-address", "127.0.0.1:7778");
        await own.RefusedAsync("mon.a has that address", "mon", "add", "x", "--address", At(own, 0), "--admin-address", "127.0.0.1:7778");
        await own.RefusedAsync("something else", "mon", "add", "x", "--address", At(own, 9), "--admin-address", At(own, 13), "--folder", folder);
        await own.RefusedAsync("holds mon.a", "mon", "add", "x", "--address", At(own, 3), "--admin-address", At(own, 13), "--folder", Path.Combine(own.Data, "mon.a"));
        await own.RefusedAsync("is not empty", "mon", "add", "x", "--address", At(own, 3), "--admin-address", At(own, 13), "--folder", Path.Combine(own.Data, "osd.0"));
        await own.RefusedAsync("exists, at", "mon", "add", "a", "--address", At(own, 3), "--admin-address", At(own, 13));
        using (var other = new TcpListener(IPAddress.Loopback, own.PortBase + 1))
        {
            other.Start();
            await own.RefusedAsync("something else", "mon", "add", "b");
        }

        await QuorumAsync(own, "a");
    }

    // A removed monitor that somebody starts by mistake is told that nobody knows it, and ends.
    private static async Task AssertEndsAsync(OwnCluster own, string name)
    {
        string folder = Assert.Single(Directory.GetDirectories(Path.Combine(own.Data, "removed"), $"mon.{name}-*"));
        Tool.Result run = await own.PlainAsync("mon", "run", "--data", folder);
        Assert.NotEqual(0, run.ExitCode);
        Assert.Contains("was removed from the cluster", run.Error, StringComparison.Ordinal);
    }

    /// <summary>What <c>mon status</c> says right after a step; returns the leader.</summary>
    private async Task<string> QuorumAsync(OwnCluster own, string names)
    {
        using JsonDocument reply = await own.JsonAsync("mon", "status");
        JsonElement status = reply.RootElement;
        string[] wanted = [.. names.Select(name => $"{name}")];
        string leader = status.GetProperty("leader").GetString()!;
        (ulong Term, uint Epoch) now = (status.GetProperty("term").GetUInt64(), status.GetProperty("epoch").GetUInt32());
        Assert.Equal(wanted, status.GetProperty("quorum").EnumerateArray().Select(name => name.GetString()!).Order(StringComparer.Ordinal));
        Assert.Contains(leader, wanted);
        Assert.True(now.Term > 0 && now.Term >= _last.Term && now.Epoch >= _last.Epoch, $"term and epoch go from {_last} to {now}");
        _last = now;
        JsonElement[] monitors = [.. status.GetProperty("monitors").EnumerateArray()];
        Assert.Equal(wanted, monitors.Select(monitor => monitor.GetProperty("name").GetString()!).Order(StringComparer.Ordinal));
        Assert.All(monitors, monitor =>
        {
            Assert.Equal(monitor.GetProperty("name").GetString() == leader ? "leader" : "follower", monitor.GetProperty("state").GetString());
            Assert.InRange(monitor.GetProperty("lag_entries").GetUInt64(), 0UL, 100UL);
        });
        return leader;
    }

    private static string At(OwnCluster own, int offset) => string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{own.PortBase + offset}");
}
