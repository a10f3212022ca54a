namespace Storage.Mutants;

/// <summary>One change of one place in the source, switched on by its number.</summary>
/// <param name="Number">1 and up; what <c>storage simulate --mutant</c> takes.</param>
/// <param name="File">Source file, from the root of the project.</param>
/// <param name="Line">Line of the place, from 1.</param>
/// <param name="Member">First and last line of the method or property around it: what is left out if it does not compile.</param>
/// <param name="Change">What is done to it.</param>
/// <param name="Code">The code it is done to, on one line.</param>
internal sealed record Mutant(int Number, string File, int Line, (int First, int Last) Member, string Change, string Code)
{
    /// <summary>The line of <c>mutants.tsv</c>.</summary>
    public override string ToString() => $"{Number}\t{File}\t{Line}\t{Member.First}\t{Member.Last}\t{Change}\t{Code}";
}
