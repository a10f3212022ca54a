using System.CommandLine;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary><c>config</c>: settings kept in the cluster map.</summary>
internal static class ConfigCommands
{
    public static Command Build() => StorageCommand.Group("config", "Settings kept in the cluster map.", Get(), Set(), Remove(), List());

    private static Argument<string> Section() => new("WHO") { Description = "global, mon, osd, osd.3, client, …" };

    private static Argument<string> Key() => new("KEY") { Description = "The setting's name." };

    private static Verb Get()
    {
        Argument<string> section = Section();
        Argument<string> key = Key();
        return new Verb("get", "The value in effect for somebody.", "storage config get osd.3 heartbeat_grace_ms") { section, key }.Does(async (run, cancellation) =>
        {
            ConfigGetReply reply = await run.Admin.ConfigGetAsync(new ConfigGetRequest { Section = run.Get(section), Key = run.Get(key) }, cancellation).ConfigureAwait(false);
            if (reply.Entries.Count == 0)
            {
                throw new CliException($"{run.Get(key)} is not set for {run.Get(section)}; its default is in effect.");
            }

            run.Print(reply, string.Join('\n', reply.Entries.Select(entry => entry.Value)));
        });
    }

    private static Verb Set()
    {
        Argument<string> section = Section();
        Argument<string> key = Key();
        var value = new Argument<string>("VALUE") { Description = "The new value." };
        return new Verb("set", "Changes a setting.", "storage config set global mon_osd_down_out_interval 600") { section, key, value }.Does(async (run, cancellation) =>
        {
            ChangeReply reply = await run.Admin.ConfigSetAsync(
                new ConfigSetRequest { Section = run.Get(section), Key = run.Get(key), Value = run.Get(value) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, $"{run.Get(section)}/{run.Get(key)} = {run.Get(value)}"));
        });
    }

    private static Verb Remove()
    {
        Argument<string> section = Section();
        Argument<string> key = Key();
        return new Verb("rm", "Goes back to a setting's default.", "storage config rm global mon_osd_down_out_interval") { section, key }.Does(async (run, cancellation) =>
        {
            ChangeReply reply = await run.Admin.ConfigSetAsync(new ConfigSetRequest { Section = run.Get(section), Key = run.Get(key) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, $"{run.Get(section)}/{run.Get(key)} removed"));
        });
    }

    private static Verb List() => new Verb("ls", "All settings that differ from their defaults.", "storage config ls").Does(async (run, cancellation) =>
    {
        ConfigGetReply reply = await run.Admin.ConfigGetAsync(new ConfigGetRequest(), cancellation).ConfigureAwait(false);
        run.Print(reply, console =>
        {
            Table table = Terminal.Table("WHO", "KEY", "VALUE");
            foreach (ConfigEntry entry in reply.Entries)
            {
                table.Row(entry.Section, entry.Key, entry.Value);
            }

            console.Write(table);
        });
    });
}
