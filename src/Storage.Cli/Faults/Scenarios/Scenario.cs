using Storage.Cli.Commands;

namespace Storage.Cli.Faults.Scenarios;

/// <summary>A range of time to choose from.</summary>
internal readonly record struct TimeRange(TimeSpan Least, TimeSpan Most)
{
    public TimeSpan Draw(Random random) => Least + (Most - Least) * random.NextDouble();
}

/// <summary>What to do to whom when a step comes up; whom is decided then.</summary>
internal sealed record FaultTemplate
{
    public required FaultKind Kind { get; init; }

    public required string Target { get; init; }

    public string? Peer { get; init; }

    public bool OneWay { get; init; }

    public TimeRange Duration { get; init; }

    public TimeSpan Delay { get; init; }

    public string Operation { get; init; } = "write";

    public int Count { get; init; }
}

/// <summary>When to inject one of some faults.</summary>
internal sealed record ScenarioStep(TimeSpan At, TimeSpan? Every, IReadOnlyList<FaultTemplate> Among);

/// <summary>A scenario that was read and checked.</summary>
internal sealed record Scenario
{
    private static readonly TimeSpan s_longest = TimeSpan.FromHours(1);

    public required string Name { get; init; }

    public required string File { get; init; }

    public required string Description { get; init; }

    /// <summary>How long faults are injected.</summary>
    public required TimeSpan Length { get; init; }

    public required WorkloadFile Workload { get; init; }

    public required TimeSpan Pause { get; init; }

    public required IReadOnlyList<ScenarioStep> Steps { get; init; }

    public required bool KillAllAtEnd { get; init; }

    public required TimeSpan? ExpectedStall { get; init; }

    public required bool ErrorsAllowed { get; init; }

    public required IReadOnlyList<string> AcceptedHealth { get; init; }

    /// <summary>Checks what a file says.</summary>
    /// <exception cref="CliException">It makes no sense; the message says what.</exception>
    public static Scenario From(string name, string path, ScenarioFile file)
    {
        if (file.Version != ScenarioFile.FormatVersion)
        {
            throw Wrong($"it has version {file.Version}; this program knows {ScenarioFile.FormatVersion}");
        }

        WorkloadFile work = file.Workload;
        Require(work.NbdConnections is >= 0 and <= 16, "nbd_connections is 0 to 16");
        Require(work.NbdDepth is >= 1 and <= 64, "nbd_depth is 1 to 64");
        Require(work.Blocks is >= 64 and <= 262_144, "blocks is 64 to 262144");
        Require(work.S3Clients is >= 0 and <= 32, "s3_clients is 0 to 32");
        Require(work.S3Keys is >= 1 and <= 900, "s3_keys is 1 to 900");
        Require(work.NbdConnections + work.S3Clients > 0, "a workload needs clients");
        TimeSpan length = Time(file.Duration);
        Require(length > TimeSpan.Zero && length <= s_longest, "duration is up to an hour");
        return new Scenario
        {
            Name = name,
            File = path,
            Description = file.Description,
            Length = length,
            Workload = work,
            Pause = Time(work.Pause),
            Steps = [.. file.Steps.Select(StepOf)],
            KillAllAtEnd = file.KillAllAtEnd,
            ExpectedStall = file.Expect.Stall is { } stall ? Time(stall) : null,
            ErrorsAllowed = file.Expect.Errors,
            AcceptedHealth = file.Expect.Health,
        };

        ScenarioStep StepOf(StepFile step)
        {
            TimeSpan? every = step.Every is { } text ? Time(text) : null;
            Require(every is null || every >= TimeSpan.FromSeconds(1), "every is 1s or more");
            bool any = step.Fault == "any";
            Require(any == step.Among is { Count: > 0 }, "a step whose fault is 'any', and no other, has a list 'among'");
            return new ScenarioStep(Time(step.At), every, any ? [.. step.Among!.Select(TemplateOf)] : [TemplateOf(step)]);
        }

        FaultTemplate TemplateOf(StepFile step)
        {
            FaultKind kind;
            try
            {
                kind = FaultRequest.ParseKind(step.Fault);
            }
            catch (CliException e)
            {
                throw Wrong(e.Message);
            }

            Require(step.Among is null, "only a step whose fault is 'any' has a list 'among'");
            Require(!string.IsNullOrEmpty(step.Target), $"the step '{step.Fault}' has no target");
            Require(kind == FaultKind.Cut || (step.Peer is null && !step.OneWay), $"the step '{step.Fault}' has a peer or one_way, which only a cut can have");
            Require(step.Operation is null or "read" or "write" or "sync", $"'{step.Operation}' is no disk operation; there are read, write and sync");
            Require(step.Count is null or (>= 1 and <= 100_000), "count is 1 to 100000");
            return new FaultTemplate
            {
                Kind = kind,
                Target = step.Target!,
                Peer = step.Peer,
                OneWay = step.OneWay,
                Duration = Range(step.For, FaultRequest.DefaultDuration(kind)),
                Delay = step.Delay is { } delay ? Time(delay) : TimeSpan.FromMilliseconds(50),
                Operation = step.Operation ?? "write",
                Count = step.Count ?? 16,
            };
        }

        TimeRange Range(string? text, TimeSpan otherwise)
        {
            if (text is null)
            {
                return new TimeRange(otherwise, otherwise);
            }

            string[] ends = text.Split('-');
            Require(ends.Length <= 2, $"'{text}' is no range of time; write 5s or 2s-6s");
            var range = new TimeRange(Time(ends[0]), Time(ends[^1]));
            Require(range.Least > TimeSpan.Zero && range.Least <= range.Most, $"'{text}' is no range of time; write 5s or 2s-6s");
            return range;
        }

        TimeSpan Time(string text)
        {
            try
            {
                return Durations.Parse(text);
            }
            catch (CliException e)
            {
                throw Wrong(e.Message);
            }
        }

        void Require(bool condition, string rule)
        {
            if (!condition)
            {
                throw Wrong(rule);
            }
        }

        CliException Wrong(string why) => new($"{path}: {why}.");
    }
}
