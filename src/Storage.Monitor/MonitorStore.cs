using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Win32.SafeHandles;
using Storage.Cluster;
using Storage.Consensus;

namespace Storage.Monitor;

/// <summary>
/// A monitor's data folder: <c>monitor.json</c> (who it is, and who founded the cluster) and <c>raft/</c> (log and snapshots). It is
/// made once, by <see cref="Format"/>. A monitor whose folder was lost must not be formatted again under its old id: Raft counts on
/// what it promised there.
/// </summary>
public static partial class MonitorStore
{
    private const int FormatVersion = 1;
    private const string FileName = "monitor.json";

    /// <summary>The folder of the Raft log within a data folder.</summary>
    /// <param name="folder">The data folder.</param>
    /// <returns>Its path.</returns>
    public static string RaftFolder(string folder) => Path.Combine(folder, "raft");

    /// <summary>Whether a folder holds a monitor.</summary>
    /// <param name="folder">The data folder.</param>
    /// <returns>True after <see cref="Format"/>.</returns>
    public static bool IsFormatted(string folder) => File.Exists(Path.Combine(folder, FileName));

    /// <summary>Makes the data folder of a monitor: a founder, or one that was added (<see cref="MonitorInfo.FirstAddedId"/>). Durable when it returns.</summary>
    /// <param name="folder">The data folder; made if it is missing.</param>
    /// <param name="options">Fsid, id and monitors are kept.</param>
    /// <param name="createdUnixMilliseconds">Now.</param>
    /// <exception cref="IOException">The folder holds a monitor already, or cannot be written.</exception>
    public static void Format(string folder, MonitorOptions options, long createdUnixMilliseconds)
    {
        options.Validate();
        string file = Path.Combine(folder, FileName);
        if (File.Exists(file))
        {
            throw new IOException($"{file} exists: this folder holds a monitor already");
        }

        Directory.CreateDirectory(RaftFolder(folder));
        using (var storage = new FileRaftStorage(RaftFolder(folder), new NodeId(options.Id)))
        {
            if (storage.Load() is null)
            {
                BootstrapRaft(storage, options);
            }
        }

        // Last, and by a rename: a folder with this file is complete.
        var json = new JsonObject
        {
            ["version"] = FormatVersion,
            ["fsid"] = options.Fsid.ToString(),
            ["id"] = options.Id,
            ["created_unix_ms"] = createdUnixMilliseconds,
            ["monitors"] = new JsonArray([.. options.Monitors.Select(monitor => (JsonNode)new JsonObject
            {
                ["id"] = monitor.Id,
                ["name"] = monitor.Name,
                ["address"] = monitor.Address.ToString(),
                ["admin_address"] = monitor.AdminAddress.IsNone ? "" : monitor.AdminAddress.ToString(),
            })]),
        };
        string temporary = file + ".new";
        using (var stream = new FileStream(temporary, FileMode.Create, FileAccess.Write))
        {
            stream.Write(Encoding.UTF8.GetBytes(json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }) + "\n"));
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, file);
        SyncFolder(folder);
    }

    /// <summary>Reads who a folder's monitor is.</summary>
    /// <param name="folder">The data folder.</param>
    /// <returns>Options with fsid, id and monitors; everything else has its default.</returns>
    /// <exception cref="IOException">The folder holds no monitor, or one of a newer version, or the file is damaged.</exception>
    public static MonitorOptions Read(string folder)
    {
        string file = Path.Combine(folder, FileName);
        if (!File.Exists(file))
        {
            throw new IOException($"{file} is missing: this folder holds no monitor (it is made once, with mkfs)");
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(file));
            JsonElement root = document.RootElement;
            int version = root.GetProperty("version").GetInt32();
            if (version != FormatVersion)
            {
                throw new IOException($"{file} has version {version}; this program knows version {FormatVersion}");
            }

            var options = new MonitorOptions
            {
                Fsid = Guid.Parse(root.GetProperty("fsid").GetString()!, CultureInfo.InvariantCulture),
                Id = root.GetProperty("id").GetUInt64(),
                Monitors = [.. root.GetProperty("monitors").EnumerateArray().Select(monitor => new MonitorInfo(
                    monitor.GetProperty("id").GetUInt64(),
                    monitor.GetProperty("name").GetString()!,
                    ParseAddress(monitor.GetProperty("address").GetString()!),
                    ParseAddress(monitor.GetProperty("admin_address").GetString()!)))],
            };
            options.Validate();
            return options;
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException or KeyNotFoundException or ArgumentException)
        {
            throw new IOException($"{file} is damaged: {e.Message}", e);
        }
    }

    /// <summary>Opens the Raft storage of a folder.</summary>
    /// <param name="folder">The data folder.</param>
    /// <param name="options">What <see cref="Read"/> returned.</param>
    /// <returns>The storage, for the daemon's constructor.</returns>
    public static IRaftStorage OpenRaft(string folder, MonitorOptions options) => new FileRaftStorage(RaftFolder(folder), new NodeId(options.Id));

    /// <summary>Gives a new Raft storage the founding members; for simulators, which have no folder. One that joins later has none until
    /// a leader tells it.</summary>
    /// <param name="storage">A new storage.</param>
    /// <param name="options">Its monitors are the members.</param>
    public static void BootstrapRaft(IRaftStorage storage, MonitorOptions options) => storage.Bootstrap(RaftSnapshot.Bootstrap(
        options.Id >= MonitorInfo.FirstAddedId
            ? RaftConfiguration.Empty
            : new RaftConfiguration(options.Monitors.Select(monitor => new NodeId(monitor.Id)))));

    private static NodeAddress ParseAddress(string text) =>
        text.Length == 0 ? default
        : NodeAddress.TryParse(text, out NodeAddress address) ? address
        : throw new FormatException($"'{text}' is no address");

    private static void SyncFolder(string folder)
    {
        const int openDirectory = 0x10000 | 0x80000; // O_DIRECTORY | O_CLOEXEC; File.OpenHandle refuses folders
        using SafeFileHandle handle = Open(folder, openDirectory);
        if (handle.IsInvalid || FSync(handle) != 0)
        {
            throw new IOException($"{folder}: cannot sync the folder: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FSync(SafeFileHandle file);
}
