using System.Globalization;
using Storage.Cluster;

namespace Storage.Osd;

// Client operations under way in order of arrival, so that the oldest are found without a search.
public sealed partial class OsdDaemon
{
    private ClientOperation? _oldestOperation;
    private ClientOperation? _newestOperation;

    private void Enlist(ClientOperation operation)
    {
        operation.Older = _newestOperation;
        operation.Newer = null;
        if (_newestOperation is null)
        {
            _oldestOperation = operation;
        }
        else
        {
            _newestOperation.Newer = operation;
        }

        _newestOperation = operation;
    }

    private void Delist(ClientOperation operation)
    {
        if (operation.Older is { } older)
        {
            older.Newer = operation.Newer;
        }
        else
        {
            _oldestOperation = operation.Newer;
        }

        if (operation.Newer is { } newer)
        {
            newer.Older = operation.Older;
        }
        else
        {
            _newestOperation = operation.Older;
        }

        operation.Older = operation.Newer = null;
    }

    /// <summary>How many operations have waited for longer than is usual, and what the oldest one waits for.</summary>
    private (int Count, string Slowest) SlowOperations()
    {
        int count = 0;
        for (ClientOperation? operation = _oldestOperation; operation is not null && _loop.Now - operation.Arrived >= _options.SlowOperationAge; operation = operation.Newer)
        {
            count++;
        }

        return count == 0 ? (0, "") : (count, Describe(_oldestOperation!));
    }

    private string Describe(ClientOperation operation)
    {
        double seconds = (_loop.Now - operation.Arrived).TotalSeconds;
        PgId id = Map?.FindPool(operation.Group.Pool) is { } pool ? ClusterMap.GroupOf(pool, operation.Group.Seed) : operation.Group;
        string where = _groups.TryGetValue(id, out PlacementGroup? group) ? group.DescribeWait(operation) : "waits for a newer map";
        return string.Create(CultureInfo.InvariantCulture, $"{(operation.IsWrite ? "write" : "read")} of {operation.Object.Name} by client.{operation.Id.Client:x} for {seconds:0} s in pg {id}: {where}");
    }
}
