using System.Globalization;
using Storage.Crush.Editing;

namespace Storage.Crush.Text;

/// <summary>
/// Compiles the text form. Grammar: (tunable | device | type)* (bucket | rule)* choose_args*; each by its first word, a
/// bucket by its type's name.
/// </summary>
internal sealed partial class CrushTextCompiler
{
    // The largest weight of one device, and of a bucket, in whole units (TiB by custom).
    private const int MaxDeviceWeight = 1000;
    private const int MaxBucketWeight = 65535;

    private readonly CrushTokens _tokens;
    private readonly CrushMapData _data = new();
    private readonly Dictionary<string, int> _types = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _items = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _classes = new(StringComparer.Ordinal);
    private readonly HashSet<string> _ruleNames = new(StringComparer.Ordinal);
    private readonly List<BucketText> _buckets = [];
    private readonly SortedDictionary<int, SortedDictionary<int, int>> _shadowIds = [];

    internal CrushTextCompiler(string text) => _tokens = new CrushTokens(text);

    internal CrushMap Compile()
    {
        while (ParseHead())
        {
        }

        bool defined = false;
        while (!_tokens.Peek.IsEnd && _tokens.Peek.Text != "choose_args")
        {
            CrushToken first = _tokens.Peek;
            if (_tokens.TryTake("rule"))
            {
                if (!defined)
                {
                    DefineBuckets();
                    ShadowTrees.Populate(_data, _shadowIds);
                    defined = true;
                }

                ParseRule();
            }
            else if (_types.TryGetValue(first.Text, out int type))
            {
                if (defined)
                {
                    throw first.Error("buckets must stand before the rules");
                }

                _tokens.Next();
                ParseBucket(type, first);
            }
            else if (first.Text is "tunable" or "device" or "type")
            {
                throw first.Error($"'{first.Text}' must stand before the buckets and rules");
            }
            else
            {
                string head = _buckets.Count == 0 && !defined ? "'tunable', 'device', 'type', " : "";
                throw first.Expected($"{head}the name of a bucket type, 'rule' or 'choose_args'");
            }
        }

        if (!defined)
        {
            DefineBuckets();
        }

        while (!_tokens.Peek.IsEnd)
        {
            ParseChooseArgs();
        }

        _data.MaxDevices = _data.HighestDevicePlusOne();
        return new CrushMap(_data);
    }

    private bool ParseHead()
    {
        if (_tokens.TryTake("tunable"))
        {
            CrushToken name = _tokens.Next();
            int index = Array.FindIndex(TextTunable.All, t => t.Name == name.Text);
            if (index < 0)
            {
                throw name.Expected($"a tunable ({string.Join(", ", TextTunable.All.Select(t => t.Name))})");
            }

            _data.Tunables = TextTunable.All[index].Set(_data.Tunables, PositiveInteger("the tunable's value"));
        }
        else if (_tokens.TryTake("device"))
        {
            CrushToken at = _tokens.Peek;
            int id = PositiveInteger("a device number");
            CrushToken name = Name("a device name");
            if (_data.ItemNames.ContainsKey(id))
            {
                throw at.Error($"device {id} is defined twice");
            }

            Define(name, id);
            if (_tokens.TryTake("class"))
            {
                _data.ItemClasses[id] = Class(Name("a device class"));
            }
        }
        else if (_tokens.TryTake("type"))
        {
            int id = PositiveInteger("a type number");
            CrushToken name = Name("a type name");
            if (id > ushort.MaxValue)
            {
                throw name.Error($"type {id} is too large; types run up to {ushort.MaxValue}");
            }

            _types[name.Text] = id;
            _data.TypeNames[id] = name.Text;
        }
        else
        {
            return false;
        }

        return true;
    }

    private void ParseRule()
    {
        CrushToken name = default;
        if (_tokens.Peek.Text != "{")
        {
            name = Name("a rule name or '{'");
            if (!_ruleNames.Add(name.Text))
            {
                throw name.Error($"rule name '{name.Text}' is already used");
            }
        }

        Take("{");
        CrushToken keyword = _tokens.Next();
        if (keyword.Text is not ("id" or "ruleset"))
        {
            throw keyword.Expected("'id'");
        }

        CrushToken idToken = _tokens.Peek;
        int id = InByte("a rule number");
        if (id < _data.Rules.Length && _data.Rules[id] is not null)
        {
            throw idToken.Error($"rule {id} already exists");
        }

        Take("type");
        CrushToken typeToken = _tokens.Next();
        CrushRuleType type = typeToken.Text switch
        {
            "replicated" => CrushRuleType.Replicated,
            "erasure" => CrushRuleType.Erasure,
            _ => throw typeToken.Expected("'replicated' or 'erasure'"),
        };
        int minSize = _tokens.TryTake("min_size") ? InByte("the smallest pool size") : 1;
        int maxSize = _tokens.TryTake("max_size") ? InByte("the largest pool size") : 100;
        var steps = new List<CrushStep>();
        while (!_tokens.TryTake("}"))
        {
            if (!_tokens.TryTake("step"))
            {
                throw _tokens.Peek.Expected(steps.Count == 0 ? "'step'" : "'step' or '}'");
            }

            steps.Add(ParseStep());
        }

        _data.Put(new CrushRule(id, type, minSize, maxSize, [.. steps]));
        if (!string.IsNullOrEmpty(name.Text))
        {
            _data.RuleNames[id] = name.Text;
        }
    }

    private CrushStep ParseStep()
    {
        CrushToken verb = _tokens.Next();
        switch (verb.Text)
        {
            case "noop":
                return new CrushStep(CrushStepKind.Noop);
            case "emit":
                return new CrushStep(CrushStepKind.Emit);
            case "take":
                return new CrushStep(CrushStepKind.Take, ParseTaken());
            case "choose" or "chooseleaf":
                CrushToken mode = _tokens.Next();
                bool firstN = mode.Text switch
                {
                    "firstn" => true,
                    "indep" => false,
                    _ => throw mode.Expected("'firstn' or 'indep'"),
                };
                int count = Integer("how many to choose");
                Take("type");
                CrushToken typeName = Name("a type name");
                if (!_types.TryGetValue(typeName.Text, out int type))
                {
                    throw typeName.Error($"type '{typeName.Text}' is not defined");
                }

                CrushStepKind kind = verb.Text == "choose"
                    ? firstN ? CrushStepKind.ChooseFirstN : CrushStepKind.ChooseIndep
                    : firstN ? CrushStepKind.ChooseLeafFirstN : CrushStepKind.ChooseLeafIndep;
                return new CrushStep(kind, count, type);
            default:
                return TextTunable.TryFindStep(verb.Text, out CrushStepKind set)
                    ? new CrushStep(set, PositiveInteger("the step's value"))
                    : throw verb.Expected("a step (take, choose, chooseleaf, emit, set_choose_tries, set_chooseleaf_tries, …)");
        }
    }

    private int ParseTaken()
    {
        CrushToken name = Name("the name of a bucket or device");
        if (!_items.TryGetValue(name.Text, out int item))
        {
            throw name.Error($"item '{name.Text}' is not defined");
        }

        if (!_tokens.TryTake("class"))
        {
            return item;
        }

        CrushToken className = Name("a device class");
        if (!_classes.TryGetValue(className.Text, out int classId))
        {
            throw className.Error($"no device has class '{className.Text}'");
        }

        return _data.Shadows.TryGetValue(item, out SortedDictionary<int, int>? shadows) && shadows.TryGetValue(classId, out int shadow)
            ? shadow
            : throw className.Error($"'{name.Text}' holds no devices of class '{className.Text}'");
    }

    private void ParseChooseArgs()
    {
        if (!_tokens.TryTake("choose_args"))
        {
            throw _tokens.Peek.Expected("'choose_args' or the end of the map");
        }

        CrushToken at = _tokens.Peek;
        int id = Integer("the number of the choose_args");
        if (_data.ChooseArgs.ContainsKey(id))
        {
            throw at.Error($"choose_args {id} stand here twice");
        }

        var set = new CrushChooseArgument?[_data.Buckets.Length];
        Take("{");
        while (!_tokens.TryTake("}"))
        {
            Take("{");
            Take("bucket_id");
            CrushToken bucketToken = _tokens.Peek;
            int bucketId = Integer("a bucket id");
            CrushBucket bucket = _data.BucketAt(bucketId) ?? throw bucketToken.Error($"bucket {bucketId} does not exist");
            var weightSets = new List<uint[]>();
            if (_tokens.TryTake("weight_set"))
            {
                Take("[");
                while (!_tokens.TryTake("]"))
                {
                    CrushToken start = _tokens.Peek;
                    Take("[");
                    var weights = new List<uint>();
                    while (!_tokens.TryTake("]"))
                    {
                        weights.Add(Weight(MaxBucketWeight));
                    }

                    weightSets.Add(weights.Count == bucket.Size ? [.. weights]
                        : throw start.Error($"bucket {bucketId} needs exactly {bucket.Size} weights, found {weights.Count}"));
                }
            }

            int[]? ids = null;
            CrushToken idsToken = _tokens.Peek;
            if (_tokens.TryTake("ids"))
            {
                var list = new List<int>();
                Take("[");
                while (!_tokens.TryTake("]"))
                {
                    list.Add(Integer("an id or ']'"));
                }

                ids = list.Count == bucket.Size ? [.. list] : throw idsToken.Error($"bucket {bucketId} needs exactly {bucket.Size} ids, found {list.Count}");
            }

            Take("}");
            set[~bucketId] = weightSets.Count == 0 && ids is null or { Length: 0 } ? null : new CrushChooseArgument([.. weightSets], ids is { Length: 0 } ? null : ids);
        }

        _data.ChooseArgs[id] = set;
    }

    private void Define(CrushToken name, int id)
    {
        if (!_items.TryAdd(name.Text, id))
        {
            throw name.Error($"item '{name.Text}' is defined twice");
        }

        _data.ItemNames[id] = name.Text;
    }

    private int Class(CrushToken name)
    {
        if (!_classes.TryGetValue(name.Text, out int id))
        {
            id = _classes.Count;
            _classes[name.Text] = id;
            _data.ClassNames[id] = name.Text;
        }

        return id;
    }

    private void Take(string word)
    {
        if (!_tokens.TryTake(word))
        {
            throw _tokens.Peek.Expected($"'{word}'");
        }
    }

    private CrushToken Name(string what)
    {
        CrushToken token = _tokens.Next();
        return CrushNames.IsValid(token.Text) ? token : throw token.Expected($"{what} (letters, digits, '-', '_', '.')");
    }

    private int Integer(string what)
    {
        CrushToken token = _tokens.Next();
        return int.TryParse(token.Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) ? value : throw token.Expected(what);
    }

    private int PositiveInteger(string what)
    {
        CrushToken token = _tokens.Next();
        return int.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value < CrushMap.ItemNone - 1
            ? value
            : throw token.Expected(what);
    }

    private int InByte(string what)
    {
        CrushToken token = _tokens.Peek;
        int value = PositiveInteger(what);
        return value <= byte.MaxValue ? value : throw token.Error($"{what} runs up to {byte.MaxValue}, not {value}");
    }

    private uint Weight(int max)
    {
        CrushToken token = _tokens.Next();
        if (!float.TryParse(token.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out float value) || !float.IsFinite(value) || value < 0)
        {
            throw token.Expected("a weight");
        }

        return value <= max ? (uint)(value * CrushMap.WeightOne) : throw token.Error($"weights run up to {max} here, not {token.Text}");
    }
}
