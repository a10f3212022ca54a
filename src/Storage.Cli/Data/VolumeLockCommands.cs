using System.CommandLine;
using System.Text.Json;
using Spectre.Console;
using Storage.Block;
using Storage.Cli.Commands;

namespace Storage.Cli.Data;

/// <summary><c>volume lock</c>: who writes to a volume.</summary>
internal static class VolumeLockCommands
{
    public static Command Build() => StorageCommand.Group("lock", "The exclusive lock of a volume: one gateway writes to it at a time.", Show(), Break());

    private static Argument<string> Name() => new("VOLUME") { Description = "NAME, or POOL/NAME for another pool than 'volumes'." };

    private static Verb Show()
    {
        Argument<string> name = Name();
        return new Verb("show", "Who holds the lock.", "storage volume lock show vm1") { name }
            .Does((run, cancellation) => VolumeCommands.RunAsync(run, cancellation, async volumes =>
            {
                VolumeName wanted = VolumeName.Parse(run.Get(name));
                VolumeLockRecord? held = await volumes.GetLockAsync(wanted, cancellation).ConfigureAwait(false);
                Print(run, held, held is null
                    ? $"nobody writes to volume {wanted}"
                    : $"volume {wanted} is written to by {held.Holder}, owner {held.Owner:x}, since {VolumeCommands.Time(held.SinceUnixMilliseconds)}");
            }));
    }

    private static Verb Break()
    {
        Argument<string> name = Name();
        var confirmed = new Option<bool>("--yes-i-really-mean-it") { Description = "Do it: a guest that uses the volume there gets errors for what it writes." };
        return new Verb("break", "Takes the lock away from its owner, who is fenced first. A dead gateway's lock needs no such help.", "storage volume lock break vm1 --yes-i-really-mean-it") { name, confirmed }
            .Does((run, cancellation) => VolumeCommands.RunAsync(run, cancellation, async volumes =>
            {
                VolumeName wanted = VolumeName.Parse(run.Get(name));
                if (!run.Get(confirmed) && await volumes.GetLockAsync(wanted, cancellation).ConfigureAwait(false) is { } present)
                {
                    throw new CliException($"volume {wanted} is written to by {present.Holder}: its guest would get errors for what it writes from now on. Say --yes-i-really-mean-it to do it.");
                }

                VolumeLockRecord? broken = await volumes.BreakLockAsync(wanted, cancellation).ConfigureAwait(false);
                Print(run, broken, broken is null ? $"nobody writes to volume {wanted}" : $"{broken.Holder} is fenced (owner {broken.Owner:x}) and the lock of volume {wanted} is free");
            }));
    }

    private static void Print(Invocation run, VolumeLockRecord? held, string text)
    {
        if (!run.Json)
        {
            run.Out.WriteLine(text);
            return;
        }

        Console.Out.WriteLine(MessageJson.Write(writer =>
        {
            writer.WriteStartObject();
            writer.WriteBoolean("locked", held is not null);
            if (held is not null)
            {
                writer.WriteString("holder", held.Holder);
                writer.WriteString("owner", held.Owner.ToString("x", System.Globalization.CultureInfo.InvariantCulture));
                writer.WriteString("since", VolumeCommands.Time(held.SinceUnixMilliseconds));
            }

            writer.WriteEndObject();
        }));
    }
}
