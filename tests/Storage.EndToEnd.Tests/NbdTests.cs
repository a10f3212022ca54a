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
