using System.Globalization;
using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd;

// Client operations under way in order of arrival, so that the oldest are found without a search.
public sealed partial class OsdDaemon
{
    private readonly LinkedItems<ClientOperation> _underWay = new();

    /// <summary>How many operations have waited for longer than is usual, and what the oldest one waits for.</summary>
    private (int Count, string Slowest) SlowOperations()
    {
        int count = 0;
        for (ClientOperation? operation = _underWay.First; operation is not null && _loop.Now - operation.Arrived >= _options.SlowOperationAge; operation = operation.Next)
        {
            count++;
        }

        return count == 0 ? (0, "") : (count, Describe(_underWay.First!));
    }

    private string Describe(ClientOperation operation)
    {
        double seconds = (_loop.Now - operation.Arrived).TotalSeconds;
        PgId id = Map?.FindPool(operation.Group.Pool) is { } pool ? ClusterMap.GroupOf(pool, operation.Group.Seed) : operation.Group;
        string where = _groups.TryGetValue(id, out PlacementGroup? group) ? group.DescribeWait(operation) : "waits for a newer map";
        return string.Create(CultureInfo.InvariantCulture, $"{(operation.IsWrite ? "write" : "read")} of {operation.Object.Name} by client.{operation.Id.Client:x} for {seconds:0} s in pg {id}: {where}");
    }
}
