using System.Buffers.Binary;
using Storage.Messaging;

namespace Storage.Simulation.Histories.Recorded;

/// <summary>A register whose answers no order of the operations explains.</summary>
/// <param name="Register">Block or key.</param>
/// <param name="Explanation">What contradicts.</param>
/// <param name="Timeline">The operations on it, in the order of their beginning.</param>
public sealed record RecordedViolation(string Register, string Explanation, IReadOnlyList<RecordedOperation> Timeline);

/// <summary>What a check of a whole recorded history found.</summary>
/// <param name="Registers">Registers that were touched.</param>
/// <param name="Operations">Operations that were looked at.</param>
/// <param name="Violations">What is wrong; empty if nothing was lost, stale or damaged.</param>
/// <param name="Undecided">Registers for which the search was given up.</param>
public sealed record RecordedVerdict(int Registers, int Operations, IReadOnlyList<RecordedViolation> Violations, IReadOnlyList<string> Undecided)
{
    /// <summary>Nothing is wrong, and everything was decided.</summary>
    public bool IsClean => Violations.Count == 0 && Undecided.Count == 0;
}

/// <summary>
/// Checks a recorded history with the simulator's <see cref="LinearizabilityChecker"/>: each 4 KiB block and each key is a register of its
/// own. Operations that touch several registers promise nothing across them.
/// </summary>
public static class RecordedCheck
{
    private const long StepsPerRegister = 2_000_000;

    /// <summary>Checks a history.</summary>
    /// <param name="operations">The operations, in any order.</param>
    /// <returns>What was found.</returns>
    public static RecordedVerdict Run(IReadOnlyList<RecordedOperation> operations)
    {
        ArgumentNullException.ThrowIfNull(operations);
        var registers = new SortedDictionary<string, List<(RecordedOperation Operation, ulong Value)>>(StringComparer.Ordinal);
        foreach (RecordedOperation operation in operations)
        {
            foreach (RecordedRegister register in operation.Registers)
            {
                if (!registers.TryGetValue(register.Name, out List<(RecordedOperation, ulong)>? list))
                {
                    registers[register.Name] = list = [];
                }

                list.Add((operation, register.Value));
            }
        }

        var violations = new List<RecordedViolation>();
        var undecided = new List<string>();
        foreach ((string name, List<(RecordedOperation Operation, ulong Value)> touches) in registers)
        {
            touches.Sort((a, b) => a.Operation.Began.CompareTo(b.Operation.Began));
            (Verdict verdict, string explanation) = Check(name, touches);
            if (verdict == Verdict.Violation)
            {
                violations.Add(new RecordedViolation(
                    name, explanation, [.. touches.Select(touch => touch.Operation with { Registers = [new RecordedRegister(name, touch.Value)] })]));
            }
            else if (verdict == Verdict.Undecided)
            {
                undecided.Add(name);
            }
        }

        return new RecordedVerdict(registers.Count, operations.Count, violations, undecided);
    }

    private static (Verdict Verdict, string Explanation) Check(string name, List<(RecordedOperation Operation, ulong Value)> touches)
    {
        var seen = new HashSet<ulong>();
        foreach ((RecordedOperation operation, ulong value) in touches)
        {
            if (operation is { Kind: RecordedKind.Read, Result: RecordedResult.Ok })
            {
                if (value == RecordedValue.Damaged)
                {
                    return (Verdict.Violation, $"operation {operation.Id} of {operation.Client} read bytes that nobody wrote there");
                }

                seen.Add(value);
            }
        }

        var entries = new List<HistoryEntry>();
        foreach ((RecordedOperation operation, ulong value) in touches)
        {
            bool known = operation.Result == RecordedResult.Ok;
            bool changes = operation.Kind is RecordedKind.Write or RecordedKind.Delete;
            if (!known && (!changes || (operation.Kind == RecordedKind.Write && !seen.Contains(value))))
            {
                // A read without an answer says nothing. A write that nobody saw, and that was not acknowledged, need never have happened:
                // an order that holds it also holds without it, since no read stands right behind it.
                continue;
            }

            entries.Add(new HistoryEntry
            {
                Id = (int)operation.Id,
                Client = operation.Client,
                ObjectName = name,
                Call = CallOf(operation.Kind, value),
                InvokedOrder = operation.Began,
                InvokedAt = TimeSpan.FromMicroseconds(operation.BeganUs),
                CompletedOrder = known ? operation.Ended : long.MaxValue,
                CompletedAt = TimeSpan.FromMicroseconds(operation.EndedUs),
                Outcome = known ? OutcomeOf(operation.Kind, value) : null,
            });
        }

        CheckResult result = LinearizabilityChecker.Check(entries, StepsPerRegister);
        return (result.Verdict, result.Explanation);
    }

    private static ObjectCall CallOf(RecordedKind kind, ulong value) => kind switch
    {
        RecordedKind.Write => ObjectCall.Of(new CallStep(OperationCode.WriteFull, Data: Bytes(value))),
        RecordedKind.Delete => ObjectCall.Of(new CallStep(OperationCode.Create), new CallStep(OperationCode.Remove)), // of nothing, too
        RecordedKind.Read => ObjectCall.Of(new CallStep(OperationCode.Read, 0, sizeof(ulong))),
        RecordedKind.List => ObjectCall.Of(new CallStep(OperationCode.Stat)),
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "touches no register"),
    };

    private static CallOutcome OutcomeOf(RecordedKind kind, ulong value) => kind switch
    {
        RecordedKind.Read or RecordedKind.List when value == RecordedValue.Missing => new CallOutcome { Result = ResultCode.NotFound },
        RecordedKind.Read => new CallOutcome { Result = ResultCode.Ok, Data = Bytes(value) },
        _ => new CallOutcome { Result = ResultCode.Ok },
    };

    private static byte[] Bytes(ulong value)
    {
        byte[] bytes = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }
}
