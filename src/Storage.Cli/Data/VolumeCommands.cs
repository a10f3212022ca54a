using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Storage.Block;
using Storage.Cli.Commands;
using Storage.Cli.Daemons;

namespace Storage.Cli.Data;

/// <summary><c>volume</c>: virtual disks.</summary>
internal static class VolumeCommands
{
    public static Command Build() => StorageCommand.Group("volume", "Volumes: thin virtual disks, served over NBD.", Create(), List(), Info(), Remove(), Resize(), Rename(), VolumeSnapshotCommands.Build(), VolumeLockCommands.Build());

    private static Argument<string> Name() => new("VOLUME") { Description = "NAME, or POOL/NAME for another pool than 'volumes'." };

    private static Verb Create()
    {
        Argument<string> name = Name();
        var size = new Option<string>("--size", "-s") { Description = "Its size, as in 10G.", Required = true };
        var order = new Option<int>("--object-order") { Description = "Data objects have two to this power bytes.", DefaultValueFactory = _ => VolumeInfo.DefaultObjectOrder };
        var lenient = new Option<bool>("--if-not-exists") { Description = "An existing volume of that name and size is success." };
        return new Verb("create", "Creates an empty volume; it takes no space until it is written to.", "storage volume create vm1 --size 10G", "storage volume create fast/db --size 1TiB") { name, size, order, lenient }
            .Does((run, cancellation) => RunAsync(run, cancellation, async volumes =>
            {
                VolumeName wanted = VolumeName.Parse(run.Get(name));
                long bytes = Amount.ParseBytes(run.Get(size)!);
                VolumeInfo info;
                try
                {
                    info = await volumes.CreateAsync(wanted, bytes, run.Get(order), cancellation).ConfigureAwait(false);
                }
                catch (VolumeException e) when (e.Problem == VolumeProblem.Exists && run.Get(lenient))
                {
                    info = await volumes.GetAsync(wanted, cancellation).ConfigureAwait(false);
                    if (info.Size != bytes)
                    {
                        throw new CliException($"volume {wanted} exists with {info.Size} bytes, not {bytes}; 'storage volume resize' changes that.");
                    }
                }

                Print(run, info, $"volume {wanted} has {Amount.Bytes(info.Size)}");
            }));
    }

    private static Verb List()
    {
        var pool = new Argument<string>("POOL") { Description = "The pool.", DefaultValueFactory = _ => VolumeName.DefaultPool };
        return new Verb("ls", "The volumes of a pool.", "storage volume ls", "storage volume ls fast --json") { pool }
            .Does((run, cancellation) => RunAsync(run, cancellation, async volumes =>
            {
                var infos = new List<VolumeInfo>();
                foreach (VolumeName name in await volumes.ListAsync(run.Get(pool), cancellation).ConfigureAwait(false))
                {
                    try
                    {
                        infos.Add(await volumes.GetAsync(name, cancellation).ConfigureAwait(false));
                    }
                    catch (VolumeException e) when (e.Problem == VolumeProblem.NotFound)
                    {
                        // Removed since it was listed.
                    }
                }

                if (run.Json)
                {
                    Console.Out.WriteLine(MessageJson.Write(writer =>
                    {
                        writer.WriteStartArray();
                        infos.ForEach(info => Write(writer, info));
                        writer.WriteEndArray();
                    }));
                    return;
                }

                Table table = Terminal.Table("NAME", ">SIZE", ">OBJECT", "CREATED", "ID");
                foreach (VolumeInfo info in infos)
                {
                    table.Row(info.Name.ToString() + (info.IsRemoving ? " (being removed)" : ""), Amount.Bytes(info.Size), Amount.Bytes(info.ObjectSize), Time(info), info.Id);
                }

                run.Out.Write(table);
            }));
    }

    private static Verb Info()
    {
        Argument<string> name = Name();
        return new Verb("info", "What is known of a volume.", "storage volume info demo") { name }
            .Does((run, cancellation) => RunAsync(run, cancellation, async volumes =>
            {
                VolumeInfo info = await volumes.GetAsync(VolumeName.Parse(run.Get(name)), cancellation).ConfigureAwait(false);
                Print(run, info, $"""
                    volume {info.Name}:
                      size:         {Amount.Bytes(info.Size)} ({info.Size} bytes)
                      object size:  {Amount.Bytes(info.ObjectSize)}, at most {Amount.Count(info.ObjectCount)} objects
                      pool:         {info.Name.Pool} (id {info.PoolId})
                      id:           {info.Id} (data objects volume_data.{info.Id}.*)
                      created:      {Time(info)}{(info.IsRemoving ? "\n  being removed" : "")}
                      snapshots:    {(info.Snapshots.All.Count == 0 ? "none" : string.Join(", ", info.Snapshots.All.Select(snapshot => snapshot.Name + Describe(snapshot.State))))}
                    """);
            }));
    }

    private static Verb Remove()
    {
        Argument<string> name = Name();
        return new Verb("rm", "Removes a volume and its data.", "storage volume rm vm1") { name }
            .Does((run, cancellation) => RunAsync(run, cancellation, async volumes =>
            {
                VolumeName wanted = VolumeName.Parse(run.Get(name));
                bool shows = !Console.IsErrorRedirected;
                await volumes.RemoveAsync(
                    wanted,
                    done =>
                    {
                        if (shows)
                        {
                            Console.Error.Write(string.Create(CultureInfo.InvariantCulture, $"\rremoving {wanted}: {done:P0} "));
                        }
                    },
                    cancellation).ConfigureAwait(false);
                if (shows)
                {
                    Console.Error.Write("\r\u001b[K");
                }

                if (!run.Json)
                {
                    run.Out.WriteLine($"volume {wanted} removed");
                }
            }));
    }

    private static Verb Resize()
    {
        Argument<string> name = Name();
        var size = new Option<string>("--size", "-s") { Description = "The new size.", Required = true };
        var shrink = new Option<bool>("--allow-shrink") { Description = "Let the volume become smaller; what is beyond the new end is lost." };
        return new Verb("resize", "Changes a volume's size.", "storage volume resize vm1 --size 20G") { name, size, shrink }
            .Does((run, cancellation) => RunAsync(run, cancellation, async volumes =>
            {
                VolumeInfo info = await volumes.ResizeAsync(
                    VolumeName.Parse(run.Get(name)), Amount.ParseBytes(run.Get(size)!), run.Get(shrink), cancellation).ConfigureAwait(false);
                Print(run, info, $"volume {info.Name} has {Amount.Bytes(info.Size)}");
            }));
    }

    private static Verb Rename()
    {
        Argument<string> name = Name();
        var target = new Argument<string>("NEW") { Description = "The new name, in the same pool." };
        return new Verb("rename", "Renames a volume.", "storage volume rename vm1 vm1-old") { name, target }
            .Does((run, cancellation) => RunAsync(run, cancellation, async volumes =>
            {
                VolumeName from = VolumeName.Parse(run.Get(name));
                string text = run.Get(target);
                VolumeName to = VolumeName.Parse(text.Contains('/', StringComparison.Ordinal) ? text : $"{from.Pool}/{text}");
                await volumes.RenameAsync(from, to, cancellation).ConfigureAwait(false);
                Print(run, await volumes.GetAsync(to, cancellation).ConfigureAwait(false), $"volume {from} is now {to}");
            }));
    }

#pragma warning disable CA1068 // a function reads best as the last argument
    internal static Task RunAsync(Invocation run, CancellationToken cancellation, Func<VolumeStore, Task> function) =>
#pragma warning restore CA1068
        DataSession.RunAsync(run, cancellation, client => function(new VolumeStore(client, TimeProvider.System, ClientSession.NewRandom(), new AdminVolumeAuthority(() => run.Admin))));

    internal static void Print(Invocation run, VolumeInfo info, string text)
    {
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer => Write(writer, info)));
        }
        else
        {
            run.Out.WriteLine(text);
        }
    }

    private static void Write(Utf8JsonWriter writer, VolumeInfo info)
    {
        writer.WriteStartObject();
        writer.WriteString("name", info.Name.Name);
        writer.WriteString("pool", info.Name.Pool);
        writer.WriteString("id", info.Id);
        writer.WriteNumber("size", info.Size);
        writer.WriteNumber("object_size", info.ObjectSize);
        writer.WriteString("created", Time(info));
        writer.WriteBoolean("removing", info.IsRemoving);
        if (info.Snapshot is { } snapshot)
        {
            writer.WriteString("snapshot", snapshot.Name);
            writer.WriteNumber("snapshot_id", snapshot.Id);
        }

        writer.WritePropertyName("snapshots");
        Write(writer, info.Snapshots.All);
        writer.WriteEndObject();
    }

    internal static void Write(Utf8JsonWriter writer, IReadOnlyList<VolumeSnapshot> snapshots)
    {
        writer.WriteStartArray();
        foreach (VolumeSnapshot snapshot in snapshots)
        {
            writer.WriteStartObject();
            writer.WriteString("name", snapshot.Name);
            writer.WriteNumber("id", snapshot.Id);
            writer.WriteNumber("size", snapshot.Size);
            writer.WriteString("created", Time(snapshot.CreatedUnixMilliseconds));
            writer.WriteString("state", snapshot.State switch { SnapshotState.Ready => "ready", SnapshotState.Creating => "creating", _ => "removing" });
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    internal static string Describe(SnapshotState state) => state switch
    {
        SnapshotState.Creating => " (not finished)",
        SnapshotState.Removing => " (being removed)",
        _ => "",
    };

    private static string Time(VolumeInfo info) => Time(info.CreatedUnixMilliseconds);

    internal static string Time(long unixMilliseconds) =>
        DateTimeOffset.FromUnixTimeMilliseconds(unixMilliseconds).ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture);
}
