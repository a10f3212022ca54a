using System.Diagnostics;
using System.Net.Sockets;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

[Collection(ClusterCollection.Name)]
public sealed class NbdTests(ClusterFixture cluster)
{
    private const int ImageMegabytes = 128;

    [Fact]
    public async Task QemuConvertsAnImageIntoDemoAndItComparesEqual()
    {
        string image = cluster.TempFile("qemu.img");
        await Files.ExtImageAsync(image, 64);
        (await Tool.RunAsync("qemu-img", "convert", "-n", "-O", "raw", image, $"{cluster.Nbd}/demo")).Expect();
        Assert.Contains("identical", (await Tool.RunAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", image, $"{cluster.Nbd}/demo")).Expect().Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FioVerifiesWhatItWrote()
    {
        string volume = await cluster.VolumeAsync("64MiB");
        (await Tool.RunAsync(
            "fio", "--name=verify", "--ioengine=nbd", $"--uri={cluster.Nbd}/{volume}", "--rw=randwrite", "--bs=4k", "--size=16M", "--iodepth=32",
            "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--fsync=64")).Expect();
    }

    [Fact]
    public async Task AnImageIsWholeThoughThePrimaryOsdIsKilledDuringTheCopy()
    {
        await CopyWhileAsync(async () =>
        {
            string victim = await cluster.PrimaryOsdAsync();
            await cluster.KillAsync(victim);
            return victim;
        });
    }

    [Fact]
    public async Task AnImageIsWholeThoughTheLeadingMonitorIsKilledDuringTheCopy()
    {
        await CopyWhileAsync(async () =>
        {
            string victim = await cluster.LeaderAsync();
            await cluster.KillAsync(victim);
            return victim;
        });
    }

    [Fact]
    public async Task AGatewayThatComesBackFromTheDeadCannotWriteToAVolumeThatAnotherOneTookOver()
    {
        await cluster.WholeAsync();
        string volume = await cluster.VolumeAsync("64MiB");
        int port = cluster.PortBase + 90;
        byte[] first = Block(1), second = Block(2), third = Block(3);
        using Process other = Process.Start(new ProcessStartInfo(
            Path.Combine(cluster.Root, "cluster/storage"), ["--data", cluster.Data, "nbd", "run", "--listen", $"127.0.0.1:{port}"]) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        try
        {
            other.BeginErrorReadLine();
            other.BeginOutputReadLine();
            await cluster.WaitAsync("the second gateway", async () =>
            {
                try
                {
                    using NbdClient probe = await NbdClient.ConnectAsync(port, volume);
                    return true;
                }
                catch (SocketException)
                {
                    return false;
                }
            });

            // Whoever writes gets the lock from an owner that is alive.
            using NbdClient here = await NbdClient.ConnectAsync(cluster.NbdPort, volume);
            using NbdClient there = await NbdClient.ConnectAsync(port, volume);
            await here.WriteAsync(0, first);
            await there.WriteAsync(0, second);
            Assert.Equal(second, await here.ReadAsync(0, second.Length));
            Assert.Contains($"127.0.0.1:{port}", (await cluster.StorageAsync("volume", "lock", "show", volume)).Expect().Output, StringComparison.Ordinal);
            Tool.Result refused = await cluster.StorageAsync("volume", "rm", volume);
            Assert.NotEqual(0, refused.ExitCode);
            Assert.Contains($"127.0.0.1:{port}", refused.Output + refused.Error, StringComparison.Ordinal);

            // It stands still for as long as that looks like death.
            (await Tool.RunAsync("kill", "-STOP", $"{other.Id}")).Expect();
            await here.WriteAsync(0, third);
            (await Tool.RunAsync("kill", "-CONT", $"{other.Id}")).Expect();
            await Assert.ThrowsAnyAsync<IOException>(() => there.WriteAsync(0, first));
            Assert.Equal(third, await there.ReadAsync(0, third.Length));
            Assert.Equal(third, await here.ReadAsync(0, third.Length));
        }
        finally
        {
            other.Kill();
            await other.WaitForExitAsync();
        }

        static byte[] Block(int seed)
        {
            var block = new byte[4096];
            new Random(seed).NextBytes(block);
            return block;
        }
    }

    [Fact]
    public async Task ASnapshotIsExportedAsItWasThoughAnOsdIsKilledWhileTheVolumeIsOverwritten()
    {
        await cluster.WholeAsync();
        string volume = await cluster.VolumeAsync("64MiB");
        string image = cluster.TempFile($"{volume}.img");
        string later = cluster.TempFile($"{volume}.later.img");
        await Files.ExtImageAsync(image, 64);
        await Files.RandomAsync(later, 64 << 20, 2);
        (await Tool.RunAsync("nbdcopy", image, $"{cluster.Nbd}/{volume}")).Expect();
        (await cluster.StorageAsync("volume", "snapshot", "create", $"{volume}@before")).Expect();

        string victim = await cluster.PrimaryOsdAsync();
        Task<Tool.Result> overwrite = Tool.RunAsync("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", later, $"{cluster.Nbd}/{volume}");
        await cluster.KillAsync(victim);
        (await overwrite).Expect();
        await AssertIdenticalAsync(image, $"{volume}@before");
        await AssertIdenticalAsync(later, volume);
        await cluster.StartAsync(victim);
        await cluster.WaitHealthyAsync();
        await AssertIdenticalAsync(image, $"{volume}@before");

        // It is read-only, keeps its volume, and gives its space back when it goes.
        Tool.Result write = await Tool.RunAsync("qemu-io", "-f", "raw", "-c", "write 0 4096", $"{cluster.Nbd}/{volume}@before");
        Assert.NotEqual(0, write.ExitCode);
        Tool.Result remove = await cluster.StorageAsync("volume", "rm", volume);
        Assert.NotEqual(0, remove.ExitCode);
        Assert.Contains("before", remove.Output + remove.Error, StringComparison.Ordinal);
        (await cluster.StorageAsync("volume", "snapshot", "rollback", $"{volume}@before")).Expect();
        await AssertIdenticalAsync(image, volume);
        (await cluster.StorageAsync("volume", "snapshot", "rm", $"{volume}@before")).Expect();
        (await cluster.StorageAsync("volume", "rm", volume)).Expect();
        await cluster.WaitHealthyAsync();
        File.Delete(image);
        File.Delete(later);
    }

    private async Task AssertIdenticalAsync(string image, string export)
    {
        Tool.Result result = await Tool.RunAsync("qemu-img", "compare", "-f", "raw", "-F", "raw", image, $"{cluster.Nbd}/{export}");
        Assert.Contains("identical", result.Expect().Output, StringComparison.Ordinal);
    }

    /// <summary>Copies an image twice: the first pass gives every object a home, the second one is disturbed.</summary>
    private async Task CopyWhileAsync(Func<Task<string>> disturb)
    {
        await cluster.WholeAsync();
        string volume = await cluster.VolumeAsync($"{ImageMegabytes}MiB");
        string image = cluster.TempFile($"{volume}.img");
        await Files.ExtImageAsync(image, ImageMegabytes);
        (await Tool.RunAsync("nbdcopy", image, $"{cluster.Nbd}/{volume}")).Expect();

        // Slow enough to be in the middle of it when the daemon dies: few requests, one connection.
        Task<Tool.Result> copy = Tool.RunAsync("nbdcopy", "--requests=1", "--connections=1", "--request-size=65536", "--flush", image, $"{cluster.Nbd}/{volume}");
        string victim = await disturb();
        (await copy).Expect();
        await AssertSameAsync(volume, image);
        await cluster.StartAsync(victim);
        await cluster.WaitHealthyAsync();
        string back = await AssertSameAsync(volume, image);
        (await Tool.RunAsync("/sbin/e2fsck", "-f", "-n", back)).Expect();
        File.Delete(back);
        File.Delete(image);
    }

    private async Task<string> AssertSameAsync(string volume, string image)
    {
        string back = image + ".back";
        (await Tool.RunAsync("nbdcopy", $"{cluster.Nbd}/{volume}", back)).Expect();
        Assert.Equal(await Files.HashAsync(image), await Files.HashAsync(back));
        return back;
    }
}
