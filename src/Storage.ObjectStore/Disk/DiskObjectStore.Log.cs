using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Metadata;

namespace Storage.ObjectStore.Disk;

// Logs of collections. A record is in the journal, and in the memory of its log's newest segment; a checkpoint writes the
// segments that grew, so that the database sees one value for some hundred records and never one of them alone.
public sealed partial class DiskObjectStore
{
    private readonly List<(ulong Log, long First)> _trimmedSegments = []; // the database has them, nobody needs them
    private readonly List<CapturedSegment> _captured = [];
    private readonly Action<CollectionLog, CollectionLog.Segment> _forgetSegment;
    private int _nextCaptured;

    // What the checkpoint under way writes of a segment.
    private readonly record struct CapturedSegment(CollectionLog.Segment Segment, ulong Number, int Count, int Length);

    /// <inheritdoc/>
    public LogRange GetLog(CollectionId collection) => FindCollection(collection) is { } found ? new LogRange(found.Log.First, found.Log.Next) : default;

    /// <inheritdoc/>
    public void ReadLog(CollectionId collection, List<ReadOnlyMemory<byte>> records)
    {
        if (FindCollection(collection) is not { } found)
        {
            return;
        }

        foreach (CollectionLog.Segment segment in found.Log.Segments)
        {
            byte[]? stored = null;
            if (!segment.IsInMemory)
            {
                MetadataKeys.WriteLog(_key, found.Log.Number, segment.First);
                stored = _database.Get(_key.WrittenSpan) ?? throw new MalformedDataException($"{collection}: the log's records from {segment.First} on are gone");
            }

            segment.Read(stored, found.Log.First, records);
        }
    }

    private void AppendLog(DiskCollection collection, ReadOnlySpan<byte> record)
    {
        CollectionLog log = collection.Log;
        if (log.Number == 0)
        {
            log.Number = ++_lastNumber;
        }

        log.Append(record, _pool);
        MarkDirty(collection);
    }

    private void TrimLog(DiskCollection collection, long keepFrom)
    {
        CollectionLog log = collection.Log;
        if (log.Trim(Math.Min(keepFrom, log.Next), _forgetSegment))
        {
            MarkDirty(collection);
        }
    }

    // The collection is removed; one of the same name begins a new log.
    private void ForgetLog(DiskCollection collection)
    {
        foreach (CollectionLog.Segment segment in collection.Log.Segments)
        {
            Forget(collection.Log, segment);
            segment.Drop();
        }

        collection.Log = new CollectionLog();
    }

    private void Forget(CollectionLog log, CollectionLog.Segment segment)
    {
        if (segment.IsStored)
        {
            _trimmedSegments.Add((log.Number, segment.First));
        }
    }

    private void MarkDirty(DiskCollection collection)
    {
        if (_dirtyCollections.Add(collection))
        {
            ScheduleCheckpoint();
        }
    }

    /// <summary>Fixes what the checkpoint that begins writes of a log; the segments only grow, so it can be written later. Those that
    /// an earlier checkpoint wrote whole need no memory any more.</summary>
    private void CaptureLog(DiskCollection collection)
    {
        List<CollectionLog.Segment> segments = collection.Log.Segments;
        for (int i = segments.Count - 1; i >= 0 && segments[i].IsInMemory; i--)
        {
            CollectionLog.Segment segment = segments[i];
            if (segment.Captured < segment.Length)
            {
                (int count, int length) = segment.Capture();
                _captured.Add(new CapturedSegment(segment, collection.Log.Number, count, length));
            }
            else if (i < segments.Count - 1)
            {
                segment.Release();
            }
        }
    }

    private void DeleteTrimmedSegments()
    {
        foreach ((ulong log, long first) in _trimmedSegments)
        {
            MetadataKeys.WriteLog(_key, log, first);
            _changes!.Delete(_key.WrittenSpan);
        }

        _trimmedSegments.Clear();
    }

    private int WriteSegment(in CapturedSegment captured)
    {
        MetadataKeys.WriteLog(_key, captured.Number, captured.Segment.First);
        _changes!.Put(_key.WrittenSpan, captured.Segment.Value(captured.Count, captured.Length));
        captured.Segment.EndCapture();
        return 1 + captured.Length / 256;
    }

    /// <summary>Finds the segments that the database holds.</summary>
    private void LoadLogs()
    {
        var logs = new Dictionary<ulong, CollectionLog>();
        foreach (DiskCollection collection in _collections.Values)
        {
            if (collection.Log.Number != 0)
            {
                logs.Add(collection.Log.Number, collection.Log);
            }
        }

        using MetadataIterator at = _database.Iterate();
        for (at.Seek([MetadataKeys.LogPrefix]); at.IsValid && at.Key[0] == MetadataKeys.LogPrefix; at.Next())
        {
            (ulong number, long first) = MetadataKeys.ReadLog(at.Key);
            if (logs.TryGetValue(number, out CollectionLog? log)) // else it is an orphan; a check says so
            {
                log.Segments.Add(new CollectionLog.Segment(first, CollectionLog.Segment.CountOf(at.Value)));
            }
        }

        foreach ((ulong number, CollectionLog log) in logs)
        {
            long next = log.Segments.Count > 0 ? log.Segments[0].First : log.Next;
            bool begins = next <= log.First;
            foreach (CollectionLog.Segment segment in log.Segments)
            {
                begins &= segment.First == next;
                next = segment.End;
            }

            if (!begins || next != log.Next)
            {
                throw new MalformedDataException($"log {number} has records {log.First} to {log.Next}, but the database holds others, up to {next}");
            }
        }
    }
}
