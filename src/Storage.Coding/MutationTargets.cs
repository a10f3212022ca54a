#if MUTATIONS
namespace Storage.Coding;

/// <summary>Where a mutation has to be found.</summary>
/// <param name="Mutation">The mutation.</param>
/// <param name="Scenario">Fault mix of the simulation.</param>
/// <param name="Seeds">One of this many seeds, from 1 on, fails.</param>
public sealed record MutationTarget(Mutation Mutation, string Scenario, int Seeds);

/// <summary>The mutations with their budgets, for <c>tests/mutations</c>.</summary>
public static class MutationTargets
{
    private const int UsualSeeds = 200;

    private static readonly Dictionary<Mutation, (string Scenario, int Seeds)> s_others = [];

    /// <summary>One for each mutation, in their order.</summary>
    public static IReadOnlyList<MutationTarget> All { get; } =
    [
        .. Enum.GetValues<Mutation>().Where(mutation => mutation != Mutation.None).Select(mutation =>
            s_others.TryGetValue(mutation, out (string Scenario, int Seeds) other)
                ? new MutationTarget(mutation, other.Scenario, other.Seeds)
                : new MutationTarget(mutation, "default", UsualSeeds)),
    ];
}
#endif
