using Storage.Simulation.Histories.Recorded;
using Xunit;

namespace Storage.Simulation.Tests;

/// <summary>Histories of real clients: sound ones pass, and every way of losing data makes one fail.</summary>
public sealed class RecordedCheckTests
{
    private readonly RecordedHistory _history = new(new RecordedHeader(RecordedHistory.FormatVersion, "test", 1, 0));
    private long _now;

    private RecordedOperation Begin(RecordedKind kind, string client = "c") => _history.Begin(client, kind, "", _now += 1000);

    private ulong End(RecordedOperation operation, ulong value, RecordedResult result = RecordedResult.Ok, string register = "block 1")
    {
        _history.End(operation with { Result = result, Registers = [new RecordedRegister(register, value)] }, _now += 1000);
        return value;
    }

    private ulong Write(RecordedResult result = RecordedResult.Ok, string register = "block 1")
    {
        RecordedOperation operation = Begin(RecordedKind.Write);
        return End(operation, (ulong)operation.Id, result, register);
    }

    private void Read(ulong value, RecordedKind kind = RecordedKind.Read) => End(Begin(kind), value);

    private RecordedVerdict Check() => RecordedCheck.Run(_history.Operations);

    [Fact]
    public void ASoundHistoryIsClean()
    {
        Read(RecordedValue.Missing);
        ulong one = Write();
        Read(one);
        ulong maybe = Write(RecordedResult.Unknown);
        Read(one);
        Read(maybe);
        Read(RecordedValue.Present, RecordedKind.List);
        End(Begin(RecordedKind.Delete), RecordedValue.Missing);
        Read(RecordedValue.Missing);
        Read(RecordedValue.Missing, RecordedKind.List);
        End(Begin(RecordedKind.Delete), RecordedValue.Missing);
        RecordedVerdict verdict = Check();
        Assert.True(verdict.IsClean, string.Join('\n', verdict.Violations));
        Assert.Equal(1, verdict.Registers);
    }

    [Fact]
    public void AnAcknowledgedWriteThatIsGoneIsFound()
    {
        Write();
        Read(RecordedValue.Missing);
        RecordedViolation violation = Assert.Single(Check().Violations);
        Assert.Equal("block 1", violation.Register);
        Assert.Equal(2, violation.Timeline.Count);
    }

    [Fact]
    public void AStaleReadIsFound()
    {
        ulong one = Write();
        Write();
        Read(one);
        Assert.False(Check().IsClean);
    }

    [Fact]
    public void AReadThatGoesBackAfterAWriteOfUnknownOutcomeIsFound()
    {
        ulong one = Write();
        ulong maybe = Write(RecordedResult.Unknown);
        Read(maybe);
        Read(one);
        Assert.False(Check().IsClean);
    }

    [Fact]
    public void ADamagedBlockIsFound()
    {
        Write();
        Read(RecordedValue.Damaged);
        Assert.Contains("nobody wrote", Assert.Single(Check().Violations).Explanation, StringComparison.Ordinal);
    }

    [Fact]
    public void AValueOfAnotherRegisterIsFound()
    {
        Write();
        Read(Write(register: "block 2"));
        Assert.False(Check().IsClean);
    }

    [Fact]
    public void AKeyThatCameBackAfterItsDeletionIsFound()
    {
        ulong one = Write();
        End(Begin(RecordedKind.Delete), RecordedValue.Missing);
        Read(one);
        Assert.False(Check().IsClean);
    }

    [Fact]
    public void AListThatMissesAnAcknowledgedKeyIsFound()
    {
        Write();
        Read(RecordedValue.Missing, RecordedKind.List);
        Assert.False(Check().IsClean);
    }

    [Fact]
    public void AnErrorDoesNotMeanThatAWriteDidNotHappen()
    {
        ulong failed = Write(RecordedResult.Failed);
        Read(failed);
        Assert.True(Check().IsClean);
    }

    /// <summary>A sound history, and one answer of it changed to any other value that was around: the check must notice each.</summary>
    [Fact]
    public void EveryChangedAnswerOfASequentialHistoryIsFound()
    {
        var random = new Random(7);
        ulong current = RecordedValue.Missing;
        var values = new List<ulong> { RecordedValue.Missing };
        for (int i = 0; i < 60; i++)
        {
            if (random.Next(2) == 0)
            {
                values.Add(current = Write());
            }
            else
            {
                Read(current);
            }
        }

        IReadOnlyList<RecordedOperation> sound = _history.Operations;
        Assert.True(RecordedCheck.Run(sound).IsClean);
        int changed = 0;
        for (int i = 0; i < sound.Count; i++)
        {
            if (sound[i].Kind != RecordedKind.Read)
            {
                continue;
            }

            foreach (ulong wrong in values.Where(value => value != sound[i].Registers[0].Value))
            {
                RecordedOperation[] bad = [.. sound];
                bad[i] = bad[i] with { Registers = [new RecordedRegister("block 1", wrong)] };
                Assert.False(RecordedCheck.Run(bad).IsClean, $"operation {i} reads {wrong}");
                changed++;
            }
        }

        Assert.True(changed > 100);
    }

    [Fact]
    public void AHistoryIsReadBackAsItWasSaved()
    {
        Read(RecordedValue.Missing);
        Write(RecordedResult.Unknown);
        _history.Add(new RecordedFault("kill osd.1", 1, 2));
        var text = new StringWriter();
        _history.Save(text);
        RecordedHistory loaded = RecordedHistory.Load(new StringReader(text.ToString()));
        Assert.Equal(_history.Header, loaded.Header);
        Assert.Equal(_history.Faults, loaded.Faults);
        var again = new StringWriter();
        loaded.Save(again);
        Assert.Equal(text.ToString(), again.ToString());
    }

    [Theory]
    [InlineData("", "empty")]
    [InlineData("{}", "no header")]
    [InlineData("nonsense", "line 1")]
    [InlineData("""{"header":{"version":9,"scenario":"x","seed":1,"started_unix_ms":0}}""", "version 9")]
    public void WhatIsNoHistoryIsRefused(string text, string why) =>
        Assert.Contains(why, Assert.Throws<FormatException>(() => RecordedHistory.Load(new StringReader(text))).Message, StringComparison.Ordinal);

    [Fact]
    public void AWaitLastsUntilTheClientSucceedsAgain()
    {
        Write();
        long start = _now + 1000;
        Write(RecordedResult.Unknown);
        _now += 5_000_000;
        Write(RecordedResult.Failed);
        Write();
        Read(RecordedValue.Missing);
        Stall longest = Stalls.Longest(Stalls.Of(_history.Operations), writes: true)!;
        Assert.Equal(start, longest.StartedUs);
        Assert.Equal(5_006_000 - 1000, longest.EndedUs - longest.StartedUs);
        Assert.Contains(longest, Stalls.During(Stalls.Of(_history.Operations), new RecordedFault("f", start + 10, start + 20)));
    }
}
