using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary><c>pool</c>: create, list, change and remove pools.</summary>
internal static class PoolCommands
{
    public static Command Build() => StorageCommand.Group("pool", "Pools: where objects live and how many copies there are.", Create(), List(), Remove(), Set(), AutoscaleStatus(),
        ScrubCommands.OfPool(Storage.Rpc.Admin.ScrubKind.Shallow), ScrubCommands.OfPool(Storage.Rpc.Admin.ScrubKind.Deep));

    private static Verb Create()
    {
        var name = new Argument<string>("POOL") { Description = "The new pool's name." };
        var size = new Option<uint>("--size") { Description = "Copies of each object; default 3." };
        var minSize = new Option<uint>("--min-size") { Description = "Copies that must be there to serve I/O; default one less." };
        var pgs = new Option<uint>("--pg-num") { Description = "Placement groups, a power of two; default 32, and more as the pool fills (pg_autoscale_mode on)." };
        var rule = new Option<string?>("--rule") { Description = "A CRUSH rule, by name." };
        var domain = new Option<string?>("--failure-domain") { Description = "No two copies share one of these: osd, host, rack, …" };
        var deviceClass = new Option<string?>("--device-class") { Description = "Only OSDs of this class." };
        var application = new Option<string?>("--application") { Description = "What it is for: block, object, …" };
        var lenient = new Option<bool>("--if-not-exists") { Description = "An existing pool of that name is success." };
        return new Verb(
            "create",
            "Creates a pool.",
            "storage pool create vms --size 3 --pg-num 64 --application block",
            "storage pool create scratch --size 2 --min-size 1 --failure-domain osd") { name, size, minSize, pgs, rule, domain, deviceClass, application, lenient }.Does(async (run, cancellation) =>
        {
            foreach (Option<uint> number in (Option<uint>[])[size, minSize, pgs])
            {
                if (run.Has(number) && run.Get(number) == 0)
                {
                    throw new CliException($"{number.Name} 0: from 1 on are possible; leave it out for the default.");
                }
            }

            PoolCreateReply reply = await run.Admin.PoolCreateAsync(
                new PoolCreateRequest
                {
                    Name = run.Get(name),
                    Size = run.Get(size),
                    MinSize = run.Get(minSize),
                    PgNum = run.Get(pgs),
                    Rule = run.Get(rule) ?? "",
                    FailureDomain = run.Get(domain) ?? "",
                    DeviceClass = run.Get(deviceClass) ?? "",
                    Application = run.Get(application) ?? "",
                    IfNotExists = run.Get(lenient),
                    Type = PoolType.Replicated,
                },
                cancellation).ConfigureAwait(false);
            run.Print(reply, reply.Created ? $"pool {run.Get(name)} created, id {reply.PoolId} (epoch {reply.Epoch})" : $"pool {run.Get(name)} exists, id {reply.PoolId}");
        });
    }

    private static Verb List() => new Verb("ls", "Pools with settings and usage.", "storage pool ls", "storage pool ls --json").Does(async (run, cancellation) =>
    {
        PoolListReply reply = await run.Admin.PoolListAsync(new PoolListRequest(), cancellation).ConfigureAwait(false);
        run.Print(reply, console =>
        {
            Table table = Terminal.Table(">ID", "NAME", ">SIZE", ">MIN", ">PGS", "RULE", "APPLICATION", "COMPRESSION", ">OBJECTS", ">STORED", ">USED", ">AVAIL");
            foreach (PoolInfo pool in reply.Pools)
            {
                table.Row(
                    pool.Id, pool.Name, pool.Size, pool.MinSize, pool.PgNum, pool.Rule, pool.Application, CompressionOf(pool),
                    Amount.Count(pool.Objects), Amount.Bytes(pool.StoredBytes), Amount.Bytes(pool.UsedBytes), Amount.Bytes(pool.AvailableBytes));
            }

            console.Write(table);
        });
    });

    // Bytes that lie compressed to what they take, where there are any.
    private static string CompressionOf(PoolInfo pool) => pool.CompressedBytes == 0
        ? pool.Compression
        : string.Create(CultureInfo.InvariantCulture, $"{pool.Compression}, {Amount.Bytes(pool.CompressedOriginalBytes)} in {Amount.Bytes(pool.CompressedBytes)}");

    private static Verb AutoscaleStatus() => new Verb(
        "autoscale-status", "How many PGs pools have, and should have by what they hold.", "storage pool autoscale-status", "storage pool autoscale-status --json").Does(async (run, cancellation) =>
    {
        PoolAutoscaleStatusReply reply = await run.Admin.PoolAutoscaleStatusAsync(new PoolAutoscaleStatusRequest(), cancellation).ConfigureAwait(false);
        run.Print(reply, console =>
        {
            Table table = Terminal.Table("POOL", "MODE", ">STORED", ">SIZE", ">OF", ">SHARE", ">RATIO", ">PGS", ">WANTED", ">NEXT", "NOTE");
            foreach (PoolAutoscale pool in reply.Pools)
            {
                table.Row(
                    pool.Pool, pool.Mode, Amount.Bytes(pool.StoredBytes), pool.Size, Amount.Bytes(pool.CapacityBytes),
                    pool.Share.ToString("P1", CultureInfo.InvariantCulture), pool.TargetSizeRatio.ToString("0.###", CultureInfo.InvariantCulture),
                    pool.PgNum, pool.WantedPgNum, pool.NextPgNum, pool.Note);
            }

            console.Write(table);
        });
    });

    private static Verb Remove()
    {
        var name = new Argument<string>("POOL") { Description = "The pool." };
        var sure = new Option<bool>("--yes-i-really-mean-it") { Description = "Confirm: all data in the pool is removed." };
        return new Verb("rm", "Removes a pool and all of its data.", "storage pool rm scratch --yes-i-really-mean-it") { name, sure }.Does(async (run, cancellation) =>
        {
            if (!run.Get(sure))
            {
                PoolListReply pools = await run.Admin.PoolListAsync(new PoolListRequest(), cancellation).ConfigureAwait(false);
                throw new CliException(pools.Pools.FirstOrDefault(pool => pool.Name == run.Get(name)) is { } pool
                    ? FormattableString.Invariant($"this removes pool {pool.Name} with {pool.Objects} objects, {Amount.Bytes(pool.StoredBytes)}, for good; add --yes-i-really-mean-it to do it.")
                    : $"there is no pool '{run.Get(name)}'");
            }

            ChangeReply reply = await run.Admin.PoolRemoveAsync(new PoolRemoveRequest { Name = run.Get(name), Confirmed = true }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, $"pool {run.Get(name)} removed"));
        });
    }

    private static Verb Set()
    {
        var name = new Argument<string>("POOL") { Description = "The pool." };
        var key = new Argument<string>("KEY") { Description = "size, min_size, pg_num, pg_autoscale_mode, target_size_ratio, compression, compression_required_ratio, compression_level, rule, quota_bytes, quota_objects, application or name." };
        var value = new Argument<string>("VALUE") { Description = "The new value." };
        var sure = new Option<bool>("--yes-i-really-mean-it") { Description = "Confirm a value that may cost data: size 1, min_size 1." };
        return new Verb("set", "Changes one setting of a pool.", "storage pool set vms size 3", "storage pool set vms quota_bytes 1TiB", "storage pool set vms compression lz4") { name, key, value, sure }.Does(async (run, cancellation) =>
        {
            // Monitors take bytes.
            string given = run.Get(key) == "quota_bytes" ? Amount.ParseBytes(run.Get(value)).ToString(CultureInfo.InvariantCulture) : run.Get(value);
            ChangeReply reply = await run.Admin.PoolSetAsync(
                new PoolSetRequest { Name = run.Get(name), Key = run.Get(key), Value = given, Confirmed = run.Get(sure) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, $"pool {run.Get(name)}: {run.Get(key)} = {run.Get(value)}"));
        });
    }
}
