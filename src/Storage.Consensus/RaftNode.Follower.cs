using Storage.Coding;

namespace Storage.Consensus;

// The follower's half of replication.
public sealed partial class RaftNode
{
    private RaftSnapshot? _snapshotToPersist;

    private void HandleAppend(RaftMessage message)
    {
        if (message.Index < _commit)
        {
            Acknowledge(message.From, _commit); // old news; what is committed agrees with every leader's log
            return;
        }

        if (!_log.Matches(message.Index, message.LogTerm))
        {
            LogPosition hint = _log.FindConflict(message.Index, message.LogTerm);
            Send(new RaftMessage
            {
                Kind = RaftMessageKind.AppendResponse,
                From = Self,
                To = message.From,
                Term = _term,
                Reject = true,
                Index = message.Index,
                RejectHint = hint.Index,
                LogTerm = hint.Term,
            });
            return;
        }

        for (int i = 0; i < message.Entries.Count; i++)
        {
            RaftEntry entry = message.Entries[i];
            Invariant.Holds(entry.Index == message.Index + (ulong)i + 1);
            if (_log.Matches(entry.Index, entry.Term))
            {
                continue; // entries after these may be newer than this message: keep them
            }

            if (entry.Index <= _log.LastIndex && !Mutations.Active(Mutation.RaftKeepsConfigurations))
            {
                ForgetConfigurationsFrom(entry.Index);
            }

            if (entry.Index <= _log.LastIndex)
            {
                Invariant.Holds(entry.Index > _commit, "a committed entry is never replaced");
                _log.TruncateFrom(entry.Index);
            }

            _log.Append(in entry);
            NoteConfiguration(in entry);
        }

        ulong last = message.Index + (ulong)message.Entries.Count;
        if (Mutations.Active(Mutation.RaftTruncatesOnStaleAppend) && last < _log.LastIndex)
        {
            _log.TruncateFrom(last + 1);
        }

        CommitTo(Math.Min(message.Commit, last));
        Acknowledge(message.From, last);
    }

    private void HandleHeartbeat(RaftMessage message)
    {
        if (message.Commit > _log.LastIndex)
        {
            Invariant.Fail($"node {Self} has acknowledged index {message.Commit} and its log ends at {_log.LastIndex}: its disk forgot a promise");
        }

        CommitTo(message.Commit);
        Send(new RaftMessage { Kind = RaftMessageKind.HeartbeatResponse, From = Self, To = message.From, Term = _term, Context = message.Context });
    }

    private void HandleInstallSnapshot(RaftMessage message)
    {
        if (message.Snapshot is not { } snapshot)
        {
            return;
        }

        if (snapshot.Index <= _commit)
        {
            Acknowledge(message.From, _commit);
            return;
        }

        if (_log.Matches(snapshot.Index, snapshot.Term))
        {
            CommitTo(snapshot.Index); // the log has it all; no need to throw it away
            Acknowledge(message.From, snapshot.Index);
            return;
        }

        _log.Reset(new LogPosition(snapshot.Index, snapshot.Term));
        _configurations.Clear();
        _configurations.Add((snapshot.Index, snapshot.Configuration));
        _commit = snapshot.Index;
        _snapshot = snapshot;
        _snapshotToPersist = snapshot;
        Acknowledge(message.From, snapshot.Index);
    }

    private void Acknowledge(NodeId leader, ulong index) =>
        Send(new RaftMessage { Kind = RaftMessageKind.AppendResponse, From = Self, To = leader, Term = _term, Index = index });

    private void CommitTo(ulong index)
    {
        Invariant.Holds(index <= _log.LastIndex);
        _commit = Math.Max(_commit, index);
    }

    private void NoteConfiguration(in RaftEntry entry)
    {
        if (entry.Kind == EntryKind.Configuration)
        {
            _configurations.Add((entry.Index, RaftConfiguration.Decode(entry.Data.Span)));
        }
    }

    private void ForgetConfigurationsFrom(ulong index)
    {
        while (_configurations.Count > 1 && _configurations[^1].Index >= index)
        {
            _configurations.RemoveAt(_configurations.Count - 1);
        }
    }
}
