using System.Security.Cryptography;

namespace Storage.EndToEnd.Tests.Kit;

/// <summary>Test data.</summary>
public static class Files
{
    /// <summary>A file of random bytes.</summary>
    /// <returns>Its SHA-256 in hexadecimal.</returns>
    public static async Task<string> RandomAsync(string path, int bytes, int seed)
    {
        byte[] data = new byte[bytes];
        new Random(seed).NextBytes(data);
        await File.WriteAllBytesAsync(path, data);
        return Convert.ToHexString(SHA256.HashData(data));
    }

    public static async Task<string> HashAsync(string path)
    {
        await using FileStream stream = File.OpenRead(path);
        return Convert.ToHexString(await SHA256.HashDataAsync(stream));
    }

    /// <summary>An ext4 image made from a real tree of files: the test's own program folder, and random data that fills it up.</summary>
    public static async Task ExtImageAsync(string path, int megabytes)
    {
        string tree = path + ".tree";
        Directory.CreateDirectory(tree);
        foreach (string file in Directory.EnumerateFiles(AppContext.BaseDirectory))
        {
            File.Copy(file, Path.Combine(tree, Path.GetFileName(file)), overwrite: true);
        }

        await RandomAsync(Path.Combine(tree, "random"), megabytes / 2 << 20, 1);
        await using (FileStream image = File.Create(path))
        {
            image.SetLength((long)megabytes << 20);
        }

        (await Tool.RunAsync("/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, path)).Expect();
        Directory.Delete(tree, recursive: true);
    }
}
