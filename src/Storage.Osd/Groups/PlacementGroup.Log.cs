using System.Buffers.Binary;
using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// The log on disk: records in the log of the PG's collection (PgLogRecord).
internal sealed partial class PlacementGroup
{
    private readonly WireWriter _record = new(512);

    // Places of the log on disk, to know from where on it is needed. All that lies before _forgetBefore goes with the next write.
    private readonly Queue<PgLogMark> _marks = new();
    private long _lastMark;
    private long _forgetBefore;

    // Written as this PG's disk wrote logs before: converted once all is read.
    private bool _hasOldLog;

    // The only record of a write; a write adds no other.
    private void AppendWrite(Transaction transaction, in PgLogEntry entry, PgVersion logTail)
    {
        _record.Clear();
        PgLogRecord.WriteEntry(_record, in entry, logTail, _info.Objects, _info.Bytes);
        transaction.AppendLog(_collection, _record.WrittenMemory);
        if (_forgetBefore > 0)
        {
            transaction.TrimLog(_collection, _forgetBefore);
        }
    }

    // Beside the info, in the same transaction.
    private void PersistEntry(Transaction transaction, in PgLogEntry entry)
    {
        _record.Clear();
        PgLogRecord.WriteEntry(_record, in entry, _info.LogTail, _info.Objects, _info.Bytes);
        transaction.AppendLog(_collection, _record.ToArray());
    }

    private void PersistDuplicate(Transaction transaction, DuplicateEntry duplicate)
    {
        _record.Clear();
        PgLogRecord.WriteDuplicate(_record, in duplicate);
        transaction.AppendLog(_collection, _record.ToArray());
    }

    private void PersistCut(Transaction transaction, PgVersion after)
    {
        _record.Clear();
        PgLogRecord.WriteCut(_record, after);
        transaction.AppendLog(_collection, _record.ToArray());
    }

    private void ForgetLogOnDisk(Transaction transaction)
    {
        transaction.TrimLog(_collection, long.MaxValue);
        _marks.Clear();
        _forgetBefore = 0;
    }

    // Writes all of the log anew.
    private void RewriteLog(Transaction transaction)
    {
        ForgetLogOnDisk(transaction);
        foreach (DuplicateEntry duplicate in _log.Duplicates)
        {
            PersistDuplicate(transaction, duplicate);
        }

        foreach (PgLogEntry entry in _log.Entries)
        {
            PersistEntry(transaction, entry);
        }
    }

    private void TrimLog(PgVersion to)
    {
        if (to <= _info.LogTail)
        {
            return;
        }

        _host.Reached(RarePath.LogTrimmed);
        _log.Trim(to);
        _info.LogTail = to;
        while (_log.TryDropDuplicate(_host.Options.DuplicateEntries, out _))
        {
            _host.Reached(RarePath.DuplicatesDropped);
        }

        // On disk entries become duplicates by the log tail alone. What no duplicate needs any more goes, as far as a mark tells where it ends.
        long next = _host.Store.GetLog(_collection).Next;
        if (next - _lastMark >= PgLogMark.Distance)
        {
            _marks.Enqueue(new PgLogMark(next, _info.LastUpdate)); // a write of this interval is newer than all before it, also than those that were cut off
            _lastMark = next;
        }

        PgVersion needed = _log.TryPeekDuplicate(out DuplicateEntry oldest) && oldest.Version < to ? oldest.Version : to;
        while (_marks.TryPeek(out PgLogMark mark) && mark.Newest < needed)
        {
            _marks.Dequeue();
            _forgetBefore = mark.Index;
        }
    }

    private void LoadLog()
    {
        PgLogRecord.Load(_host.Store, _collection, _log, _info, _marks);
        _lastMark = _marks.Count > 0 ? _marks.Last().Index : _host.Store.GetLog(_collection).First;
        while (_log.TryDropDuplicate(Mutations.Active(Mutation.DuplicatesLostAtRestart) ? 0 : _host.Options.DuplicateEntries, out _))
        {
        }

        PgVersion head = _log.Count > 0 ? _log.Newest : _info.LogTail;
        if (head != _info.LastUpdate)
        {
            throw new MalformedDataException($"pg {Id}: the log ends at {head}, the info says {_info.LastUpdate}");
        }

        if (_hasOldLog)
        {
            _transaction.RemoveOmapRange(_collection, MetaObject, "D"u8.ToArray(), "E"u8.ToArray());
            _transaction.RemoveOmapRange(_collection, MetaObject, "L"u8.ToArray(), "M"u8.ToArray());
            RewriteLog(_transaction);
            PersistInfo(_transaction);
            SubmitMeta(_transaction);
        }
    }

    // Before collections had logs, it was in the omap of the PG's object: a letter and the version, big-endian.
    private void LoadOldLog(char letter, ReadOnlySpan<byte> key, ref WireReader value)
    {
        _hasOldLog = true;
        if (letter == 'L')
        {
            _log.Add(PgLogEntry.Decode(ref value));
            return;
        }

        var version = new PgVersion(new Epoch(BinaryPrimitives.ReadUInt32BigEndian(key)), BinaryPrimitives.ReadUInt64BigEndian(key[4..]));
        _log.AddDuplicate(new DuplicateEntry(new Messaging.OperationId(value.ReadUInt64(), value.ReadUInt64()), version, value.ReadUInt32()));
    }
}
