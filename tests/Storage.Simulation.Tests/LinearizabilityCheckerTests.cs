using Xunit;
using Storage.Messaging;
using Storage.Simulation.Histories;

namespace Storage.Simulation.Tests;

public sealed class LinearizabilityCheckerTests
{
    private static readonly byte[] s_one = [1, 1, 1];
    private static readonly byte[] s_two = [2, 2, 2, 2];

    private readonly History _history = new();

    private static ObjectCall Read => ObjectCall.Of(new CallStep(OperationCode.Read, 0, 100));

    private static ObjectCall Full(byte[] data) => ObjectCall.Of(new CallStep(OperationCode.WriteFull, Data: data));

    private static ObjectCall Append(byte[] data) => ObjectCall.Of(new CallStep(OperationCode.Append, Data: data));

    private HistoryEntry Begin(ObjectCall call) => _history.Invoke("c", "o", call, TimeSpan.Zero);

    private void End(HistoryEntry entry, ResultCode result = ResultCode.Ok, byte[]? data = null) =>
        _history.Complete(entry, new CallOutcome { Result = result, Data = data }, TimeSpan.Zero);

    private void Do(ObjectCall call, ResultCode result = ResultCode.Ok, byte[]? data = null) => End(Begin(call), result, data);

    private Verdict Check() => LinearizabilityChecker.Check(_history.Entries).Verdict;

    [Fact]
    public void CallsOneAfterTheOtherAreExplained()
    {
        Do(Read, ResultCode.NotFound);
        Do(Full(s_one));
        Do(Append(s_two));
        Do(Read, data: [1, 1, 1, 2, 2, 2, 2]);
        Do(ObjectCall.Of(new CallStep(OperationCode.Remove)));
        Do(Read, ResultCode.NotFound);
        Assert.Equal(Verdict.Linearizable, Check());
    }

    [Fact]
    public void AStaleReadIsFound()
    {
        Do(Full(s_one));
        Do(Full(s_two));
        Do(Read, data: s_one);
        Assert.Equal(Verdict.Violation, Check());
    }

    [Fact]
    public void ALostWriteIsFound()
    {
        Do(Full(s_one));
        Do(Read, ResultCode.NotFound);
        Assert.Equal(Verdict.Violation, Check());
    }

    [Fact]
    public void AReadBesideAWriteMaySeeEither()
    {
        Do(Full(s_one));
        HistoryEntry write = Begin(Full(s_two));
        Do(Read, data: s_one);
        Do(Read, data: s_two);
        End(write);
        Assert.Equal(Verdict.Linearizable, Check());
    }

    [Fact]
    public void ReadsBesideAWriteDoNotGoBack()
    {
        Do(Full(s_one));
        HistoryEntry write = Begin(Full(s_two));
        Do(Read, data: s_two);
        Do(Read, data: s_one);
        End(write);
        Assert.Equal(Verdict.Violation, Check());
    }

    [Fact]
    public void AWriteOfUnknownOutcomeMayComeLateOrNever()
    {
        Do(Full(s_one));
        Begin(Full(s_two));
        Begin(Append([9]));
        Do(Read, data: s_one);
        Do(Full(s_one));
        Do(Read, data: s_two);
        Assert.Equal(Verdict.Linearizable, Check());
    }

    [Fact]
    public void AWriteOfUnknownOutcomeHappensOnce()
    {
        Do(Full(s_one));
        Begin(Append([9]));
        Do(Read, data: [1, 1, 1, 9, 9]);
        Assert.Equal(Verdict.Violation, Check());
    }

    [Fact]
    public void AWriteOfUnknownOutcomeDoesNotHappenBeforeItBegan()
    {
        Do(Full(s_one));
        Do(Read, data: s_two);
        Begin(Full(s_two));
        Assert.Equal(Verdict.Violation, Check());
    }

    [Fact]
    public void AnAppendThatHappenedTwiceIsFound()
    {
        Do(Append(s_one));
        Do(Read, data: [.. s_one, .. s_one]);
        Assert.Equal(Verdict.Violation, Check());
    }

    [Fact]
    public void HalfOfACallIsFound()
    {
        Do(ObjectCall.Of(new CallStep(OperationCode.WriteFull, Data: s_one), new CallStep(OperationCode.Append, Data: s_two)));
        Do(Read, data: s_one);
        Assert.Equal(Verdict.Violation, Check());
    }

    [Fact]
    public void AGuardThatFailedChangesNothing()
    {
        Do(Full(s_one));
        Do(ObjectCall.Of(new CallStep(OperationCode.AssertMissing), new CallStep(OperationCode.WriteFull, Data: s_two)), ResultCode.Exists);
        Do(Read, data: s_one);
        Assert.Equal(Verdict.Linearizable, Check());
        Do(ObjectCall.Of(new CallStep(OperationCode.AssertMissing)), ResultCode.Ok);
        Assert.Equal(Verdict.Violation, Check());
    }

    [Fact]
    public void ManyCallsBesideEachOtherAreSearchedInTime()
    {
        var random = new Random(7);
        var state = ObjectState.Missing;
        for (int round = 0; round < 60; round++)
        {
            HistoryEntry[] calls = [.. Enumerable.Range(0, 4).Select(i => Begin(Append([(byte)round, (byte)i])))];
            random.Shuffle(calls);
            foreach (HistoryEntry call in calls)
            {
                state = state.Apply(call.Call).After;
            }

            Do(ObjectCall.Of(new CallStep(OperationCode.Read, 0, 100_000)), data: null);
            foreach (HistoryEntry call in calls)
            {
                End(call);
            }

            Do(ObjectCall.Of(new CallStep(OperationCode.Read, 0, 100_000)), data: state.Data);
        }

        Begin(Append([77]));
        Begin(Append([78]));
        Assert.Equal(Verdict.Linearizable, Check());
    }

    [Fact]
    public void TheExplanationNamesTheCallThatDoesNotFit()
    {
        Do(Full(s_one));
        Do(Read, data: s_two);
        CheckResult result = LinearizabilityChecker.Check(_history.Entries);
        Assert.Contains("#1 Read", result.Explanation, StringComparison.Ordinal);
    }

    // The object was made again by a writer that did not know the snapshot, after nothing had been left of it: what a later write keeps for the snapshot may be that.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void GoingBackToASnapshotThatMayBeForgottenGivesEither(bool forgotten)
    {
        Do(Full(s_one) with { Snapshots = [1] });
        Do(ObjectCall.Of(new CallStep(OperationCode.Remove)) with { Snapshots = [1] });
        Do(Full(s_two) with { Snapshots = [] });
        Do(Append(s_one) with { Snapshots = [1] });
        Do(ObjectCall.Of(new CallStep(OperationCode.Rollback, 1)) with { Snapshots = [1] });
        if (forgotten)
        {
            Do(Read, data: s_two);
        }
        else
        {
            Do(Read, ResultCode.NotFound);
        }

        Assert.Equal(Verdict.Linearizable, Check());
    }

    [Fact]
    public void GoingBackToASnapshotThatMayBeForgottenGivesNothingElse()
    {
        Do(Full(s_one) with { Snapshots = [1] });
        Do(ObjectCall.Of(new CallStep(OperationCode.Remove)) with { Snapshots = [1] });
        Do(Full(s_two) with { Snapshots = [] });
        Do(Append(s_one) with { Snapshots = [1] });
        Do(ObjectCall.Of(new CallStep(OperationCode.Rollback, 1)) with { Snapshots = [1] });
        Do(Read, data: [2, 2, 2, 2, 1, 1, 1]);
        Assert.Equal(Verdict.Violation, Check());
    }
}
