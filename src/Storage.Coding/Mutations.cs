#if !MUTATIONS
using System.Runtime.CompilerServices;
#endif

namespace Storage.Coding;

/// <summary>
/// A bug put into the program on purpose, which the simulator has to find (docs/simulation.md). Each stands at the one place in the source
/// that asks <see cref="Mutations.Active"/> for it.
/// </summary>
public enum Mutation
{
    /// <summary>The program as it should be.</summary>
    None,

    /// <summary>A primary acknowledges a write before all members of the acting set have it on disk.</summary>
    AckBeforeReplicas,
}

/// <summary>Asks for deliberate bugs. Only builds with <c>-p:Mutations=true</c> contain any; elsewhere the question folds to false.</summary>
public static class Mutations
{
#if MUTATIONS
    /// <summary>The bug that this process runs with; set before the first core is created.</summary>
    public static Mutation Selected { get; set; }

    /// <summary>Whether to misbehave in one way.</summary>
    /// <param name="mutation">The bug.</param>
    /// <returns>True if it is the selected one.</returns>
    public static bool Active(Mutation mutation) => mutation == Selected;
#else
    /// <summary>Whether to misbehave in one way; never, in this build.</summary>
    /// <param name="mutation">The bug.</param>
    /// <returns>False.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Active(Mutation mutation) => false;
#endif
}
