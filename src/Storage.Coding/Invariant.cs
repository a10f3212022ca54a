using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace Storage.Coding;

/// <summary>Assertions that are on in every build. A failed one is a bug of ours, never bad input.</summary>
public static class Invariant
{
    /// <summary>Fails the process (or the simulated run) when <paramref name="condition"/> does not hold.</summary>
    /// <param name="condition">What must be true here.</param>
    /// <param name="text">The condition's source text, filled in by the compiler.</param>
    /// <exception cref="InvariantException">The condition does not hold; only the process's top and the simulator catch it.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Holds(
        [DoesNotReturnIf(false)] bool condition,
        [CallerArgumentExpression(nameof(condition))] string text = "")
    {
        if (!condition)
        {
            Fail(text);
        }
    }

    /// <summary>Reports a broken invariant.</summary>
    /// <param name="text">What should have held.</param>
    /// <exception cref="InvariantException">Always.</exception>
    [DoesNotReturn]
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void Fail(string text) => throw new InvariantException(text);
}

/// <summary>An invariant of the program does not hold; the state in memory can no longer be trusted.</summary>
public sealed class InvariantException : Exception
{
    /// <summary>Creates the exception.</summary>
    public InvariantException() : this("unnamed")
    {
    }

    /// <summary>Creates the exception for one condition.</summary>
    /// <param name="condition">The condition's source text.</param>
    public InvariantException(string condition) : base("Invariant broken: " + condition)
    {
    }

    /// <summary>Creates the exception with a cause.</summary>
    /// <param name="condition">The condition's source text.</param>
    /// <param name="inner">What led here.</param>
    public InvariantException(string condition, Exception inner) : base("Invariant broken: " + condition, inner)
    {
    }
}
