using System.Globalization;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Cli.Faults;

/// <summary>Whom a fault is for: daemons by name, or by what they are at the moment.</summary>
internal sealed class FaultTargets(ClusterFile cluster, AdminClient admin, Random random)
{
    /// <summary>What may be written, for help texts.</summary>
    public const string Syntax =
        "a daemon (osd.1, mon.a, nbd, s3), mon.leader, mon.follower, mon.any, osd.primary (leads most PGs with data), osd.any, with *N for several; osds, mons, gateways, all";

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(3);

    /// <summary>Finds the daemons that are meant.</summary>
    /// <param name="selector">As in <see cref="Syntax"/>.</param>
    /// <param name="except">Names not to be chosen where there is a choice.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>Names, at least one.</returns>
    /// <exception cref="CliException">There is none such.</exception>
    public async Task<IReadOnlyList<string>> ResolveAsync(string selector, IReadOnlyCollection<string> except, CancellationToken cancellation)
    {
        string text = selector;
        int count = 1;
        if (text.IndexOf('*', StringComparison.Ordinal) is > 0 and var star)
        {
            count = int.TryParse(text.AsSpan(star + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number > 0
                ? number
                : throw new CliException($"'{selector}': a number belongs behind the star, as in osd.any*2.");
            text = text[..star];
        }

        switch (text)
        {
            case "all":
                return [.. cluster.Daemons.Select(daemon => daemon.Name)];
            case "osds":
                return OfRole("osd");
            case "mons":
                return OfRole("mon");
            case "gateways":
                return [.. OfRole("nbd"), .. OfRole("s3")];
            case "nbd" or "s3":
                return [OfRole(text)[0]];
            case "osd.any" or "mon.any":
                return Draw(OfRole(text[..3]), count, except, selector);
            case "osd.primary":
                return [await PrimaryAsync(cancellation).ConfigureAwait(false) ?? Draw(OfRole("osd"), 1, except, selector)[0]];
            case "mon.leader":
                return [await LeaderAsync(cancellation).ConfigureAwait(false) ?? throw new CliException("the monitors have no leader at the moment, so none can be chosen; see 'storage mon status'.")];
            case "mon.follower":
                string? leader = await LeaderAsync(cancellation).ConfigureAwait(false);
                return Draw([.. OfRole("mon").Where(name => name != leader)], count, except, selector);
            default:
                if (count != 1)
                {
                    throw new CliException($"'{selector}': a star makes sense only where there is a choice, as in osd.any*2.");
                }

                return cluster.Daemons.Any(daemon => daemon.Name == text)
                    ? [text]
                    : throw new CliException($"no daemon '{selector}' in {cluster.Folder}; write {Syntax}. There are {string.Join(", ", cluster.Daemons.Select(daemon => daemon.Name))}.");
        }
    }

    private string[] OfRole(string role)
    {
        string[] names = [.. cluster.Daemons.Where(daemon => daemon.Role == role).Select(daemon => daemon.Name)];
        return names.Length > 0 ? names : throw new CliException($"this cluster has no {role} daemon.");
    }

    private string[] Draw(string[] from, int count, IReadOnlyCollection<string> except, string selector)
    {
        string[] left = [.. from.Where(name => !except.Contains(name))];
        if (left.Length < count)
        {
            throw new CliException($"'{selector}' wants {count}, but only {left.Length} are there to choose from.");
        }

        random.Shuffle(left);
        return left[..count];
    }

    private async Task<string?> LeaderAsync(CancellationToken cancellation)
    {
        MonStatusReply? status = await AskAsync(token => admin.MonStatusAsync(new MonStatusRequest(), token), cancellation).ConfigureAwait(false);
        return status is { Leader.Length: > 0 } ? "mon." + status.Leader : null;
    }

    /// <summary>The OSD that leads most PGs that hold data of volumes.</summary>
    private async Task<string?> PrimaryAsync(CancellationToken cancellation)
    {
        PgListReply? list = await AskAsync(token => admin.PgListAsync(new PgListRequest { Pool = Block.VolumeName.DefaultPool }, token), cancellation).ConfigureAwait(false);
        return list?.Pgs.Where(pg => pg.Objects > 0 && pg.Primary >= 0).GroupBy(pg => pg.Primary).OrderByDescending(group => group.Count()).ThenBy(group => group.Key)
            .Select(group => string.Create(CultureInfo.InvariantCulture, $"osd.{group.Key}")).FirstOrDefault(name => cluster.Daemons.Any(daemon => daemon.Name == name));
    }

    // Monitors may be dead or cut off at this moment; then chance decides.
    private static async Task<T?> AskAsync<T>(Func<CancellationToken, Task<T>> ask, CancellationToken cancellation) where T : class
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(s_patience);
        try
        {
            return await ask(patience.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException && !cancellation.IsCancellationRequested)
        {
            return null;
        }
    }
}
