using System.CommandLine;
using System.Globalization;
using System.Text;
using Storage.Cli.Commands;
using Storage.Cli.Daemons;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore.Offline;

namespace Storage.Cli.Offline;

/// <summary><c>store</c>: the store of a stopped OSD. Opening it replays its journal, as the daemon would.</summary>
internal static class StoreCommands
{
    private static readonly Argument<string> s_group = new("PG") { Description = "The placement group, such as 2.1f; 'meta' for the OSD's own." };

    public static Command Build() => StorageCommand.Group(
        "store",
        "Looks into the store of a stopped OSD: check, list, dump, export and import placement groups, grow.",
        Fsck(),
        List(),
        Dump(),
        ExportGroup(),
        ImportGroup(),
        Grow());

    private static Verb Fsck()
    {
        var repair = new Option<bool>("--repair") { Description = "Remove records that belong to no object. Damaged data is left to scrub, which has other copies." };
        var quick = new Option<bool>("--metadata-only") { Description = "Do not read the data." };
        return new Verb("fsck", "Checks a store: metadata against space in use, every block against its checksum.", "storage store fsck --data osd.3", "storage store fsck --repair --data osd.3")
        {
            repair, quick,
        }.Does(async (run, _) =>
        {
            StoreCheckReport report = await WithStoreAsync(run, store => store.CheckAsync(!run.Get(quick), run.Get(repair), Console.Out.WriteLine)).ConfigureAwait(false);
            Console.Out.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{report.Collections} collections, {report.Objects} objects, {report.Blocks} blocks ({report.CompressedBlocks} compressed, {report.BlocksVerified} verified, {report.BlocksDamaged} damaged), {report.OmapEntries} omap entries, {report.Orphans} orphans ({report.OrphansRemoved} removed), {report.Errors} errors: {(report.IsClean ? "clean" : "NOT CLEAN")}"));
            return report.IsClean ? 0 : Verb.Failure;
        });
    }

    private static Verb List()
    {
        var group = new Argument<string?>("PG") { Description = "The placement group whose objects to list; without it, the groups.", Arity = ArgumentArity.ZeroOrOne, DefaultValueFactory = _ => null };
        return new Verb("list", "Lists placement groups with their objects' number, or the objects of one with their sizes.", "storage store list --data osd.3", "storage store list 2.1f --data osd.3") { group }.Does((run, _) =>
            WithStoreAsync(run, store =>
            {
                if (run.Get(group) is { } text)
                {
                    CollectionId collection = Find(store, text);
                    ForEachObject(store, collection, id =>
                    {
                        store.TryStat(collection, id, out long size);
                        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Describe(id)}\t{size}"));
                    });
                    return Task.FromResult(0);
                }

                foreach (CollectionId collection in store.ListCollections())
                {
                    long count = 0;
                    ForEachObject(store, collection, _ => count++);
                    Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{collection}\t{count}"));
                }

                return Task.FromResult(0);
            }));
    }

    private static Verb Dump()
    {
        var name = new Argument<string>("OBJECT") { Description = "The object's name as 'list' prints it." };
        var output = new Option<string?>("--output") { Description = "Write the object's data to this file." };
        return new Verb("dump", "Prints an object's size, extents, attributes and omap.", "storage store dump 2.1f rbd_data.1.0 --data osd.3 --output /tmp/data") { s_group, name, output }.Does((run, _) =>
            WithStoreAsync(run, async store =>
            {
                CollectionId collection = Find(store, run.Get(s_group));
                ObjectId? found = null;
                ForEachObject(store, collection, id => found = Describe(id) == run.Get(name) ? id : found);
                ObjectId target = found ?? throw new CliException($"{collection} has no object '{run.Get(name)}'.");
                await DumpAsync(store, collection, target, run.Get(output));
                return 0;
            }));
    }

    private static Verb ExportGroup()
    {
        var file = new Argument<string>("FILE") { Description = "The file to write." };
        return new Verb("export-pg", "Writes a placement group to a file. Every block is verified.", "storage store export-pg 2.1f /tmp/2.1f --data osd.3") { s_group, file }.Does((run, _) =>
            WithStoreAsync(run, async store =>
            {
                CollectionId collection = Find(store, run.Get(s_group));
                using var stream = new FileStream(run.Get(file), FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 20);
                (long objects, long bytes) = await CollectionArchive.ExportAsync(store, collection, stream);
                stream.Flush(flushToDisk: true);
                Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{collection}: {objects} objects, {bytes} bytes of data"));
                return 0;
            }));
    }

    private static Verb ImportGroup()
    {
        var file = new Argument<string>("FILE") { Description = "A file that export-pg wrote." };
        return new Verb("import-pg", "Makes a placement group from a file. The store must not have it.", "storage store import-pg /tmp/2.1f --data osd.4") { file }.Does((run, _) =>
            WithStoreAsync(run, async store =>
            {
                using var stream = new FileStream(run.Get(file), FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 20);
                (CollectionId collection, long objects, long bytes) = await CollectionArchive.ImportAsync(store, stream);
                Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{collection}: {objects} objects, {bytes} bytes of data"));
                return 0;
            }));
    }

    private static Verb Grow()
    {
        var size = new Option<string?>("--size") { Description = "The block file's new size, such as 200GiB; without it, all that the file or device has." };
        return new Verb("grow", "Lets a stopped OSD use more space: lengthens its block file, or takes all of a device that has grown.", "storage store grow --size 200GiB --data osd.3") { size }.Does((run, _) =>
        {
            (long before, long after) = DiskObjectStore.Grow(DaemonOptions.Folder(run), run.Get(size) is { } text ? Amount.ParseBytes(text) : 0);
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"space for data: {before} bytes before, {after} now"));
            return Task.CompletedTask;
        });
    }

    private static async Task DumpAsync(DiskObjectStore store, CollectionId collection, ObjectId id, string? output)
    {
        store.TryStat(collection, id, out long size);
        Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{collection}/{Describe(id)} hash {id.Hash:x8} size {size}"));
        var extents = new List<DataExtent>();
        store.ListExtents(collection, id, 0, size, extents);
        foreach (DataExtent extent in extents)
        {
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"data {extent.Offset}+{extent.Length}"));
        }

        foreach ((string name, ReadOnlyMemory<byte> value) in store.GetAttributes(collection, id))
        {
            Console.Out.WriteLine($"attribute {name} = {Show(value.Span)}");
        }

        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in store.AllOmap(collection, id))
        {
            Console.Out.WriteLine($"omap {Show(key.Span)} = {Show(value.Span)}");
        }

        if (output is null)
        {
            return;
        }

        using var stream = new FileStream(output, FileMode.Create, FileAccess.Write);
        const int Piece = 1 << 20;
        for (long at = 0; at < size; at += Piece)
        {
            (ReadStatus status, Reactor.BufferSegment data) = await store.ReadAsync(collection, id, at, (int)Math.Min(Piece, size - at));
            if (status != ReadStatus.Ok)
            {
                throw new CliException($"bytes from {at} on cannot be read: {status}.");
            }

            stream.Write(data.Span);
            data.Buffer?.Release();
        }
    }

    private static void ForEachObject(DiskObjectStore store, CollectionId collection, Action<ObjectId> action)
    {
        var page = new List<ObjectId>();
        ObjectId? from = null;
        bool more = true;
        while (more)
        {
            page.Clear();
            more = store.ListObjects(collection, from, 1001, page);
            from = more ? page[^1] : null;
            for (int i = 0; i < (more ? page.Count - 1 : page.Count); i++)
            {
                action(page[i]);
            }
        }
    }

    private static CollectionId Find(DiskObjectStore store, string text)
    {
        CollectionId collection = text == CollectionId.Meta.ToString() ? CollectionId.Meta
            : PgId.TryParse(text, out PgId group) ? new CollectionId(group)
            : throw new CliException($"'{text}' is no placement group: one looks like 2.1f.");
        return store.ListCollections().Contains(collection) ? collection : throw new CliException($"the store has no placement group {text}: see storage store list.");
    }

    private static string Describe(ObjectId id) =>
        id.Snapshot == ObjectId.NoSnapshot ? id.Name : string.Create(CultureInfo.InvariantCulture, $"{id.Name}@{id.Snapshot}");

    private static string Show(ReadOnlySpan<byte> bytes)
    {
        const int Most = 256;
        foreach (byte b in bytes)
        {
            if (b is < 32 or > 126)
            {
                return Convert.ToHexString(bytes[..Math.Min(Most, bytes.Length)]) + (bytes.Length > Most ? $"… ({bytes.Length} bytes)" : string.Empty);
            }
        }

        return Encoding.ASCII.GetString(bytes);
    }

    private static async Task<T> WithStoreAsync<T>(Invocation run, Func<DiskObjectStore, Task<T>> work)
    {
        string folder = DaemonOptions.Folder(run);
        if (!File.Exists(Path.Combine(folder, DiskObjectStore.BlockFileName)))
        {
            throw new CliException($"{folder} holds no store.");
        }

        using var thread = new LoopThread("store", failure => Environment.FailFast("the event loop ended", failure));
        return await thread.InvokeAsync(async () =>
        {
            DiskObjectStore store = await OsdProcess.OpenStoreAsync(thread.Loop, folder);
            try
            {
                return await work(store);
            }
            finally
            {
                await store.CloseAsync();
            }
        }).ConfigureAwait(false);
    }
}
