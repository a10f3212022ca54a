using Storage.Coding;

namespace Storage.Consensus;

// Linearizable reads without writing to the log: the leader remembers its commit index and has a majority confirm, in a
// round of heartbeats begun after the read came in, that it still leads.
public sealed partial class RaftNode
{
    private readonly List<ulong> _pendingReads = [];               // until an entry of this term is committed
    private readonly List<PendingRead> _reads = [];                // ascending by round
    private readonly SortedList<NodeId, ulong> _readAcks = [];     // the newest round each voter has confirmed
    private readonly List<ulong> _failedReads = [];
    private List<ReadState> _readStates = [];
    private ulong _readRound;                                      // never used twice by this node's life
    private bool _readRoundDue;                                    // reads of one turn share a round

    private readonly record struct PendingRead(ulong Round, ulong Index, ulong Token);

    /// <summary>Asks for a linearizable read; the answer is in a later <see cref="Ready.ReadStates"/> or <see cref="Ready.FailedReads"/>.</summary>
    /// <param name="token">The host's name for the read.</param>
    /// <returns><see cref="ProposeResult.Accepted"/> or <see cref="ProposeResult.NotLeader"/>.</returns>
    public ProposeResult ReadIndex(ulong token)
    {
        if (_role != RaftRole.Leader)
        {
            return ProposeResult.NotLeader;
        }

        if (Mutations.Active(Mutation.RaftReadsWithoutQuorum))
        {
            _readStates.Add(new ReadState(_commit, token));
        }
        else if (HasCommittedInTerm || Mutations.Active(Mutation.RaftReadsBeforeOwnEntry))
        {
            StartRead(token);
        }
        else
        {
            _pendingReads.Add(token); // the commit index may be behind that of the leader before
        }

        return ProposeResult.Accepted;
    }

    private void StartRead(ulong token)
    {
        _reads.Add(new PendingRead(_readRound + 1, _commit, token));
        _readRoundDue = true;
    }

    private void StartPendingReads()
    {
        foreach (ulong token in _pendingReads)
        {
            StartRead(token);
        }

        _pendingReads.Clear();
    }

    private void FlushReads()
    {
        _readRoundDue = false;
        _readRound++;
        BroadcastHeartbeat();
        AcknowledgeReads(Self, _readRound);
    }

    private void AcknowledgeReads(NodeId node, ulong round)
    {
        if (_reads.Count == 0 || round == 0)
        {
            return;
        }

        _readAcks[node] = Math.Max(round, _readAcks.GetValueOrDefault(node));
        RaftConfiguration configuration = Configuration;
        Span<ulong> rounds = stackalloc ulong[configuration.Voters.Length];
        for (int i = 0; i < rounds.Length; i++)
        {
            rounds[i] = _readAcks.GetValueOrDefault(configuration.Voters[i]);
        }

        rounds.Sort();
        ulong confirmed = rounds[^configuration.Majority];
        int done = 0;
        while (done < _reads.Count && _reads[done].Round <= confirmed)
        {
            _readStates.Add(new ReadState(_reads[done].Index, _reads[done].Token));
            done++;
        }

        _reads.RemoveRange(0, done);
    }

    private void FailReads()
    {
        foreach (PendingRead read in _reads)
        {
            _failedReads.Add(read.Token);
        }

        _failedReads.AddRange(_pendingReads);
        _reads.Clear();
        _pendingReads.Clear();
        _readAcks.Clear();
        _readRoundDue = false;
    }
}
