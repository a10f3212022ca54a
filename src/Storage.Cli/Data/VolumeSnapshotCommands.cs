using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Storage.Block;
using Storage.Cli.Commands;

namespace Storage.Cli.Data;

/// <summary><c>volume snapshot</c>: what volumes were at points in time.</summary>
internal static class VolumeSnapshotCommands
{
    public static Command Build() => StorageCommand.Group(
        "snapshot", "Snapshots of volumes, written VOLUME@SNAPSHOT; the NBD gateway exports them read-only.", Create(), List(), Remove(), RollBack());

    private static Argument<string> Name() => new("VOLUME@SNAPSHOT") { Description = "NAME@SNAPSHOT, or POOL/NAME@SNAPSHOT for another pool than 'volumes'." };

    private static Verb Create()
    {
        Argument<string> name = Name();
        return new Verb(
            "create", "Takes a snapshot. What was written before is in it, what is written after is not; nobody has to stop writing.", "storage volume snapshot create vm1@monday") { name }
            .Does((run, cancellation) => VolumeCommands.RunAsync(run, cancellation, async volumes =>
            {
                VolumeInfo info = await volumes.CreateSnapshotAsync(VolumeName.Parse(run.Get(name)), cancellation).ConfigureAwait(false);
                VolumeCommands.Print(run, info, $"snapshot {run.Get(name)} taken");
            }));
    }

    private static Verb List()
    {
        var name = new Argument<string>("VOLUME") { Description = "The volume." };
        return new Verb("ls", "The snapshots of a volume.", "storage volume snapshot ls vm1") { name }
            .Does((run, cancellation) => VolumeCommands.RunAsync(run, cancellation, async volumes =>
            {
                IReadOnlyList<VolumeSnapshot> snapshots = await volumes.ListSnapshotsAsync(VolumeName.Parse(run.Get(name)), cancellation).ConfigureAwait(false);
                if (run.Json)
                {
                    Console.Out.WriteLine(MessageJson.Write(writer => VolumeCommands.Write(writer, snapshots)));
                    return;
                }

                Table table = Terminal.Table("NAME", ">SIZE", "TAKEN", ">ID");
                foreach (VolumeSnapshot snapshot in snapshots)
                {
                    table.Row(snapshot.Name + VolumeCommands.Describe(snapshot.State), Amount.Bytes(snapshot.Size), VolumeCommands.Time(snapshot.CreatedUnixMilliseconds), snapshot.Id);
                }

                run.Out.Write(table);
            }));
    }

    private static Verb Remove()
    {
        Argument<string> name = Name();
        return new Verb("rm", "Removes a snapshot; its space comes back in the background.", "storage volume snapshot rm vm1@monday") { name }
            .Does((run, cancellation) => VolumeCommands.RunAsync(run, cancellation, async volumes =>
            {
                await volumes.RemoveSnapshotAsync(VolumeName.Parse(run.Get(name)), cancellation).ConfigureAwait(false);
                if (!run.Json)
                {
                    run.Out.WriteLine($"snapshot {run.Get(name)} removed");
                }
            }));
    }

    private static Verb RollBack()
    {
        Argument<string> name = Name();
        return new Verb(
            "rollback", "Makes a volume what it was at a snapshot; what was written since is lost. Detach it first.", "storage volume snapshot rollback vm1@monday") { name }
            .Does((run, cancellation) => VolumeCommands.RunAsync(run, cancellation, async volumes =>
            {
                bool shows = !Console.IsErrorRedirected;
                VolumeInfo info = await volumes.RollBackAsync(
                    VolumeName.Parse(run.Get(name)),
                    done =>
                    {
                        if (shows)
                        {
                            Console.Error.Write(string.Create(CultureInfo.InvariantCulture, $"\rrolling back: {done:P0} "));
                        }
                    },
                    cancellation).ConfigureAwait(false);
                if (shows)
                {
                    Console.Error.Write("\r\u001b[K");
                }

                VolumeCommands.Print(run, info, $"volume {info.Name} is what it was at {run.Get(name)}");
            }));
    }
}
