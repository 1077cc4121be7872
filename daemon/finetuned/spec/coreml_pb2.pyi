from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NeuralNetworkMultiArrayShapeMapping(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RANK5_ARRAY_MAPPING: _ClassVar[NeuralNetworkMultiArrayShapeMapping]
    EXACT_ARRAY_MAPPING: _ClassVar[NeuralNetworkMultiArrayShapeMapping]

class NeuralNetworkImageShapeMapping(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RANK5_IMAGE_MAPPING: _ClassVar[NeuralNetworkImageShapeMapping]
    RANK4_IMAGE_MAPPING: _ClassVar[NeuralNetworkImageShapeMapping]
RANK5_ARRAY_MAPPING: NeuralNetworkMultiArrayShapeMapping
EXACT_ARRAY_MAPPING: NeuralNetworkMultiArrayShapeMapping
RANK5_IMAGE_MAPPING: NeuralNetworkImageShapeMapping
RANK4_IMAGE_MAPPING: NeuralNetworkImageShapeMapping

class Unread(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Model(_message.Message):
    __slots__ = ("specificationVersion", "description", "isUpdatable", "pipelineClassifier", "pipelineRegressor", "pipeline", "glmRegressor", "supportVectorRegressor", "treeEnsembleRegressor", "neuralNetworkRegressor", "bayesianProbitRegressor", "glmClassifier", "supportVectorClassifier", "treeEnsembleClassifier", "neuralNetworkClassifier", "kNearestNeighborsClassifier", "neuralNetwork", "itemSimilarityRecommender", "mlProgram", "customModel", "linkedModel", "classConfidenceThresholding", "oneHotEncoder", "imputer", "featureVectorizer", "dictVectorizer", "scaler", "categoricalMapping", "normalizer", "arrayFeatureExtractor", "nonMaximumSuppression", "identity", "textClassifier", "wordTagger", "visionFeaturePrint", "soundAnalysisPreprocessing", "gazetteer", "wordEmbedding", "audioFeaturePrint", "serializedModel")
    SPECIFICATIONVERSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ISUPDATABLE_FIELD_NUMBER: _ClassVar[int]
    PIPELINECLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    PIPELINEREGRESSOR_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    GLMREGRESSOR_FIELD_NUMBER: _ClassVar[int]
    SUPPORTVECTORREGRESSOR_FIELD_NUMBER: _ClassVar[int]
    TREEENSEMBLEREGRESSOR_FIELD_NUMBER: _ClassVar[int]
    NEURALNETWORKREGRESSOR_FIELD_NUMBER: _ClassVar[int]
    BAYESIANPROBITREGRESSOR_FIELD_NUMBER: _ClassVar[int]
    GLMCLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    SUPPORTVECTORCLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    TREEENSEMBLECLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    NEURALNETWORKCLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    KNEARESTNEIGHBORSCLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    NEURALNETWORK_FIELD_NUMBER: _ClassVar[int]
    ITEMSIMILARITYRECOMMENDER_FIELD_NUMBER: _ClassVar[int]
    MLPROGRAM_FIELD_NUMBER: _ClassVar[int]
    CUSTOMMODEL_FIELD_NUMBER: _ClassVar[int]
    LINKEDMODEL_FIELD_NUMBER: _ClassVar[int]
    CLASSCONFIDENCETHRESHOLDING_FIELD_NUMBER: _ClassVar[int]
    ONEHOTENCODER_FIELD_NUMBER: _ClassVar[int]
    IMPUTER_FIELD_NUMBER: _ClassVar[int]
    FEATUREVECTORIZER_FIELD_NUMBER: _ClassVar[int]
    DICTVECTORIZER_FIELD_NUMBER: _ClassVar[int]
    SCALER_FIELD_NUMBER: _ClassVar[int]
    CATEGORICALMAPPING_FIELD_NUMBER: _ClassVar[int]
    NORMALIZER_FIELD_NUMBER: _ClassVar[int]
    ARRAYFEATUREEXTRACTOR_FIELD_NUMBER: _ClassVar[int]
    NONMAXIMUMSUPPRESSION_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    TEXTCLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    WORDTAGGER_FIELD_NUMBER: _ClassVar[int]
    VISIONFEATUREPRINT_FIELD_NUMBER: _ClassVar[int]
    SOUNDANALYSISPREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    GAZETTEER_FIELD_NUMBER: _ClassVar[int]
    WORDEMBEDDING_FIELD_NUMBER: _ClassVar[int]
    AUDIOFEATUREPRINT_FIELD_NUMBER: _ClassVar[int]
    SERIALIZEDMODEL_FIELD_NUMBER: _ClassVar[int]
    specificationVersion: int
    description: ModelDescription
    isUpdatable: bool
    pipelineClassifier: PipelineClassifier
    pipelineRegressor: PipelineRegressor
    pipeline: Pipeline
    glmRegressor: Unread
    supportVectorRegressor: Unread
    treeEnsembleRegressor: Unread
    neuralNetworkRegressor: NeuralNetworkRegressor
    bayesianProbitRegressor: Unread
    glmClassifier: Unread
    supportVectorClassifier: Unread
    treeEnsembleClassifier: Unread
    neuralNetworkClassifier: NeuralNetworkClassifier
    kNearestNeighborsClassifier: KNearestNeighborsClassifier
    neuralNetwork: NeuralNetwork
    itemSimilarityRecommender: Unread
    mlProgram: Unread
    customModel: Unread
    linkedModel: Unread
    classConfidenceThresholding: Unread
    oneHotEncoder: Unread
    imputer: Unread
    featureVectorizer: Unread
    dictVectorizer: Unread
    scaler: Unread
    categoricalMapping: Unread
    normalizer: Unread
    arrayFeatureExtractor: Unread
    nonMaximumSuppression: Unread
    identity: Unread
    textClassifier: Unread
    wordTagger: Unread
    visionFeaturePrint: Unread
    soundAnalysisPreprocessing: Unread
    gazetteer: Unread
    wordEmbedding: Unread
    audioFeaturePrint: Unread
    serializedModel: Unread
    def __init__(self, specificationVersion: _Optional[int] = ..., description: _Optional[_Union[ModelDescription, _Mapping]] = ..., isUpdatable: _Optional[bool] = ..., pipelineClassifier: _Optional[_Union[PipelineClassifier, _Mapping]] = ..., pipelineRegressor: _Optional[_Union[PipelineRegressor, _Mapping]] = ..., pipeline: _Optional[_Union[Pipeline, _Mapping]] = ..., glmRegressor: _Optional[_Union[Unread, _Mapping]] = ..., supportVectorRegressor: _Optional[_Union[Unread, _Mapping]] = ..., treeEnsembleRegressor: _Optional[_Union[Unread, _Mapping]] = ..., neuralNetworkRegressor: _Optional[_Union[NeuralNetworkRegressor, _Mapping]] = ..., bayesianProbitRegressor: _Optional[_Union[Unread, _Mapping]] = ..., glmClassifier: _Optional[_Union[Unread, _Mapping]] = ..., supportVectorClassifier: _Optional[_Union[Unread, _Mapping]] = ..., treeEnsembleClassifier: _Optional[_Union[Unread, _Mapping]] = ..., neuralNetworkClassifier: _Optional[_Union[NeuralNetworkClassifier, _Mapping]] = ..., kNearestNeighborsClassifier: _Optional[_Union[KNearestNeighborsClassifier, _Mapping]] = ..., neuralNetwork: _Optional[_Union[NeuralNetwork, _Mapping]] = ..., itemSimilarityRecommender: _Optional[_Union[Unread, _Mapping]] = ..., mlProgram: _Optional[_Union[Unread, _Mapping]] = ..., customModel: _Optional[_Union[Unread, _Mapping]] = ..., linkedModel: _Optional[_Union[Unread, _Mapping]] = ..., classConfidenceThresholding: _Optional[_Union[Unread, _Mapping]] = ..., oneHotEncoder: _Optional[_Union[Unread, _Mapping]] = ..., imputer: _Optional[_Union[Unread, _Mapping]] = ..., featureVectorizer: _Optional[_Union[Unread, _Mapping]] = ..., dictVectorizer: _Optional[_Union[Unread, _Mapping]] = ..., scaler: _Optional[_Union[Unread, _Mapping]] = ..., categoricalMapping: _Optional[_Union[Unread, _Mapping]] = ..., normalizer: _Optional[_Union[Unread, _Mapping]] = ..., arrayFeatureExtractor: _Optional[_Union[Unread, _Mapping]] = ..., nonMaximumSuppression: _Optional[_Union[Unread, _Mapping]] = ..., identity: _Optional[_Union[Unread, _Mapping]] = ..., textClassifier: _Optional[_Union[Unread, _Mapping]] = ..., wordTagger: _Optional[_Union[Unread, _Mapping]] = ..., visionFeaturePrint: _Optional[_Union[Unread, _Mapping]] = ..., soundAnalysisPreprocessing: _Optional[_Union[Unread, _Mapping]] = ..., gazetteer: _Optional[_Union[Unread, _Mapping]] = ..., wordEmbedding: _Optional[_Union[Unread, _Mapping]] = ..., audioFeaturePrint: _Optional[_Union[Unread, _Mapping]] = ..., serializedModel: _Optional[_Union[Unread, _Mapping]] = ...) -> None: ...

class ModelDescription(_message.Message):
    __slots__ = ("defaultFunctionName", "metadata", "input", "output", "state", "predictedFeatureName", "predictedProbabilitiesName", "trainingInput")
    DEFAULTFUNCTIONNAME_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PREDICTEDFEATURENAME_FIELD_NUMBER: _ClassVar[int]
    PREDICTEDPROBABILITIESNAME_FIELD_NUMBER: _ClassVar[int]
    TRAININGINPUT_FIELD_NUMBER: _ClassVar[int]
    defaultFunctionName: str
    metadata: Metadata
    input: _containers.RepeatedCompositeFieldContainer[FeatureDescription]
    output: _containers.RepeatedCompositeFieldContainer[FeatureDescription]
    state: _containers.RepeatedCompositeFieldContainer[FeatureDescription]
    predictedFeatureName: str
    predictedProbabilitiesName: str
    trainingInput: _containers.RepeatedCompositeFieldContainer[FeatureDescription]
    def __init__(self, defaultFunctionName: _Optional[str] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ..., input: _Optional[_Iterable[_Union[FeatureDescription, _Mapping]]] = ..., output: _Optional[_Iterable[_Union[FeatureDescription, _Mapping]]] = ..., state: _Optional[_Iterable[_Union[FeatureDescription, _Mapping]]] = ..., predictedFeatureName: _Optional[str] = ..., predictedProbabilitiesName: _Optional[str] = ..., trainingInput: _Optional[_Iterable[_Union[FeatureDescription, _Mapping]]] = ...) -> None: ...

class FeatureDescription(_message.Message):
    __slots__ = ("name", "shortDescription", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHORTDESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    shortDescription: str
    type: FeatureType
    def __init__(self, name: _Optional[str] = ..., shortDescription: _Optional[str] = ..., type: _Optional[_Union[FeatureType, _Mapping]] = ...) -> None: ...

class Metadata(_message.Message):
    __slots__ = ("shortDescription", "versionString", "author", "license", "userDefined")
    class UserDefinedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SHORTDESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    VERSIONSTRING_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    LICENSE_FIELD_NUMBER: _ClassVar[int]
    USERDEFINED_FIELD_NUMBER: _ClassVar[int]
    shortDescription: str
    versionString: str
    author: str
    license: str
    userDefined: _containers.ScalarMap[str, str]
    def __init__(self, shortDescription: _Optional[str] = ..., versionString: _Optional[str] = ..., author: _Optional[str] = ..., license: _Optional[str] = ..., userDefined: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Pipeline(_message.Message):
    __slots__ = ("models", "names")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class PipelineClassifier(_message.Message):
    __slots__ = ("pipeline",)
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    pipeline: Pipeline
    def __init__(self, pipeline: _Optional[_Union[Pipeline, _Mapping]] = ...) -> None: ...

class PipelineRegressor(_message.Message):
    __slots__ = ("pipeline",)
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    pipeline: Pipeline
    def __init__(self, pipeline: _Optional[_Union[Pipeline, _Mapping]] = ...) -> None: ...

class FeatureType(_message.Message):
    __slots__ = ("int64Type", "doubleType", "stringType", "imageType", "multiArrayType", "dictionaryType", "sequenceType", "stateType", "isOptional")
    INT64TYPE_FIELD_NUMBER: _ClassVar[int]
    DOUBLETYPE_FIELD_NUMBER: _ClassVar[int]
    STRINGTYPE_FIELD_NUMBER: _ClassVar[int]
    IMAGETYPE_FIELD_NUMBER: _ClassVar[int]
    MULTIARRAYTYPE_FIELD_NUMBER: _ClassVar[int]
    DICTIONARYTYPE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCETYPE_FIELD_NUMBER: _ClassVar[int]
    STATETYPE_FIELD_NUMBER: _ClassVar[int]
    ISOPTIONAL_FIELD_NUMBER: _ClassVar[int]
    int64Type: Int64FeatureType
    doubleType: DoubleFeatureType
    stringType: StringFeatureType
    imageType: ImageFeatureType
    multiArrayType: ArrayFeatureType
    dictionaryType: DictionaryFeatureType
    sequenceType: SequenceFeatureType
    stateType: StateFeatureType
    isOptional: bool
    def __init__(self, int64Type: _Optional[_Union[Int64FeatureType, _Mapping]] = ..., doubleType: _Optional[_Union[DoubleFeatureType, _Mapping]] = ..., stringType: _Optional[_Union[StringFeatureType, _Mapping]] = ..., imageType: _Optional[_Union[ImageFeatureType, _Mapping]] = ..., multiArrayType: _Optional[_Union[ArrayFeatureType, _Mapping]] = ..., dictionaryType: _Optional[_Union[DictionaryFeatureType, _Mapping]] = ..., sequenceType: _Optional[_Union[SequenceFeatureType, _Mapping]] = ..., stateType: _Optional[_Union[StateFeatureType, _Mapping]] = ..., isOptional: _Optional[bool] = ...) -> None: ...

class Int64FeatureType(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DoubleFeatureType(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StringFeatureType(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SizeRange(_message.Message):
    __slots__ = ("lowerBound", "upperBound")
    LOWERBOUND_FIELD_NUMBER: _ClassVar[int]
    UPPERBOUND_FIELD_NUMBER: _ClassVar[int]
    lowerBound: int
    upperBound: int
    def __init__(self, lowerBound: _Optional[int] = ..., upperBound: _Optional[int] = ...) -> None: ...

class ImageFeatureType(_message.Message):
    __slots__ = ("width", "height", "enumeratedSizes", "imageSizeRange", "colorSpace")
    class ColorSpace(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        INVALID_COLOR_SPACE: _ClassVar[ImageFeatureType.ColorSpace]
        GRAYSCALE: _ClassVar[ImageFeatureType.ColorSpace]
        RGB: _ClassVar[ImageFeatureType.ColorSpace]
        BGR: _ClassVar[ImageFeatureType.ColorSpace]
        GRAYSCALE_FLOAT16: _ClassVar[ImageFeatureType.ColorSpace]
    INVALID_COLOR_SPACE: ImageFeatureType.ColorSpace
    GRAYSCALE: ImageFeatureType.ColorSpace
    RGB: ImageFeatureType.ColorSpace
    BGR: ImageFeatureType.ColorSpace
    GRAYSCALE_FLOAT16: ImageFeatureType.ColorSpace
    class ImageSize(_message.Message):
        __slots__ = ("width", "height")
        WIDTH_FIELD_NUMBER: _ClassVar[int]
        HEIGHT_FIELD_NUMBER: _ClassVar[int]
        width: int
        height: int
        def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...
    class EnumeratedImageSizes(_message.Message):
        __slots__ = ("sizes",)
        SIZES_FIELD_NUMBER: _ClassVar[int]
        sizes: _containers.RepeatedCompositeFieldContainer[ImageFeatureType.ImageSize]
        def __init__(self, sizes: _Optional[_Iterable[_Union[ImageFeatureType.ImageSize, _Mapping]]] = ...) -> None: ...
    class ImageSizeRange(_message.Message):
        __slots__ = ("widthRange", "heightRange")
        WIDTHRANGE_FIELD_NUMBER: _ClassVar[int]
        HEIGHTRANGE_FIELD_NUMBER: _ClassVar[int]
        widthRange: SizeRange
        heightRange: SizeRange
        def __init__(self, widthRange: _Optional[_Union[SizeRange, _Mapping]] = ..., heightRange: _Optional[_Union[SizeRange, _Mapping]] = ...) -> None: ...
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    ENUMERATEDSIZES_FIELD_NUMBER: _ClassVar[int]
    IMAGESIZERANGE_FIELD_NUMBER: _ClassVar[int]
    COLORSPACE_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    enumeratedSizes: ImageFeatureType.EnumeratedImageSizes
    imageSizeRange: ImageFeatureType.ImageSizeRange
    colorSpace: ImageFeatureType.ColorSpace
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., enumeratedSizes: _Optional[_Union[ImageFeatureType.EnumeratedImageSizes, _Mapping]] = ..., imageSizeRange: _Optional[_Union[ImageFeatureType.ImageSizeRange, _Mapping]] = ..., colorSpace: _Optional[_Union[ImageFeatureType.ColorSpace, str]] = ...) -> None: ...

class ArrayFeatureType(_message.Message):
    __slots__ = ("shape", "dataType", "enumeratedShapes", "shapeRange", "intDefaultValue", "floatDefaultValue", "doubleDefaultValue")
    class ArrayDataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        INVALID_ARRAY_DATA_TYPE: _ClassVar[ArrayFeatureType.ArrayDataType]
        FLOAT32: _ClassVar[ArrayFeatureType.ArrayDataType]
        DOUBLE: _ClassVar[ArrayFeatureType.ArrayDataType]
        INT32: _ClassVar[ArrayFeatureType.ArrayDataType]
        INT8: _ClassVar[ArrayFeatureType.ArrayDataType]
        FLOAT16: _ClassVar[ArrayFeatureType.ArrayDataType]
    INVALID_ARRAY_DATA_TYPE: ArrayFeatureType.ArrayDataType
    FLOAT32: ArrayFeatureType.ArrayDataType
    DOUBLE: ArrayFeatureType.ArrayDataType
    INT32: ArrayFeatureType.ArrayDataType
    INT8: ArrayFeatureType.ArrayDataType
    FLOAT16: ArrayFeatureType.ArrayDataType
    class Shape(_message.Message):
        __slots__ = ("shape",)
        SHAPE_FIELD_NUMBER: _ClassVar[int]
        shape: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, shape: _Optional[_Iterable[int]] = ...) -> None: ...
    class EnumeratedShapes(_message.Message):
        __slots__ = ("shapes",)
        SHAPES_FIELD_NUMBER: _ClassVar[int]
        shapes: _containers.RepeatedCompositeFieldContainer[ArrayFeatureType.Shape]
        def __init__(self, shapes: _Optional[_Iterable[_Union[ArrayFeatureType.Shape, _Mapping]]] = ...) -> None: ...
    class ShapeRange(_message.Message):
        __slots__ = ("sizeRanges",)
        SIZERANGES_FIELD_NUMBER: _ClassVar[int]
        sizeRanges: _containers.RepeatedCompositeFieldContainer[SizeRange]
        def __init__(self, sizeRanges: _Optional[_Iterable[_Union[SizeRange, _Mapping]]] = ...) -> None: ...
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    ENUMERATEDSHAPES_FIELD_NUMBER: _ClassVar[int]
    SHAPERANGE_FIELD_NUMBER: _ClassVar[int]
    INTDEFAULTVALUE_FIELD_NUMBER: _ClassVar[int]
    FLOATDEFAULTVALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLEDEFAULTVALUE_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    dataType: ArrayFeatureType.ArrayDataType
    enumeratedShapes: ArrayFeatureType.EnumeratedShapes
    shapeRange: ArrayFeatureType.ShapeRange
    intDefaultValue: int
    floatDefaultValue: float
    doubleDefaultValue: float
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., dataType: _Optional[_Union[ArrayFeatureType.ArrayDataType, str]] = ..., enumeratedShapes: _Optional[_Union[ArrayFeatureType.EnumeratedShapes, _Mapping]] = ..., shapeRange: _Optional[_Union[ArrayFeatureType.ShapeRange, _Mapping]] = ..., intDefaultValue: _Optional[int] = ..., floatDefaultValue: _Optional[float] = ..., doubleDefaultValue: _Optional[float] = ...) -> None: ...

class DictionaryFeatureType(_message.Message):
    __slots__ = ("int64KeyType", "stringKeyType")
    INT64KEYTYPE_FIELD_NUMBER: _ClassVar[int]
    STRINGKEYTYPE_FIELD_NUMBER: _ClassVar[int]
    int64KeyType: Int64FeatureType
    stringKeyType: StringFeatureType
    def __init__(self, int64KeyType: _Optional[_Union[Int64FeatureType, _Mapping]] = ..., stringKeyType: _Optional[_Union[StringFeatureType, _Mapping]] = ...) -> None: ...

class SequenceFeatureType(_message.Message):
    __slots__ = ("int64Type", "stringType", "sizeRange")
    INT64TYPE_FIELD_NUMBER: _ClassVar[int]
    STRINGTYPE_FIELD_NUMBER: _ClassVar[int]
    SIZERANGE_FIELD_NUMBER: _ClassVar[int]
    int64Type: Int64FeatureType
    stringType: StringFeatureType
    sizeRange: SizeRange
    def __init__(self, int64Type: _Optional[_Union[Int64FeatureType, _Mapping]] = ..., stringType: _Optional[_Union[StringFeatureType, _Mapping]] = ..., sizeRange: _Optional[_Union[SizeRange, _Mapping]] = ...) -> None: ...

class StateFeatureType(_message.Message):
    __slots__ = ("arrayType",)
    ARRAYTYPE_FIELD_NUMBER: _ClassVar[int]
    arrayType: ArrayFeatureType
    def __init__(self, arrayType: _Optional[_Union[ArrayFeatureType, _Mapping]] = ...) -> None: ...

class StringVector(_message.Message):
    __slots__ = ("vector",)
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    vector: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, vector: _Optional[_Iterable[str]] = ...) -> None: ...

class Int64Vector(_message.Message):
    __slots__ = ("vector",)
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    vector: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, vector: _Optional[_Iterable[int]] = ...) -> None: ...

class FloatVector(_message.Message):
    __slots__ = ("vector",)
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    vector: bytes
    def __init__(self, vector: _Optional[bytes] = ...) -> None: ...

class Int64Range(_message.Message):
    __slots__ = ("minValue", "maxValue")
    MINVALUE_FIELD_NUMBER: _ClassVar[int]
    MAXVALUE_FIELD_NUMBER: _ClassVar[int]
    minValue: int
    maxValue: int
    def __init__(self, minValue: _Optional[int] = ..., maxValue: _Optional[int] = ...) -> None: ...

class Int64Set(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class DoubleRange(_message.Message):
    __slots__ = ("minValue", "maxValue")
    MINVALUE_FIELD_NUMBER: _ClassVar[int]
    MAXVALUE_FIELD_NUMBER: _ClassVar[int]
    minValue: float
    maxValue: float
    def __init__(self, minValue: _Optional[float] = ..., maxValue: _Optional[float] = ...) -> None: ...

class Int64Parameter(_message.Message):
    __slots__ = ("defaultValue", "range", "set")
    DEFAULTVALUE_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    defaultValue: int
    range: Int64Range
    set: Int64Set
    def __init__(self, defaultValue: _Optional[int] = ..., range: _Optional[_Union[Int64Range, _Mapping]] = ..., set: _Optional[_Union[Int64Set, _Mapping]] = ...) -> None: ...

class DoubleParameter(_message.Message):
    __slots__ = ("defaultValue", "range")
    DEFAULTVALUE_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    defaultValue: float
    range: DoubleRange
    def __init__(self, defaultValue: _Optional[float] = ..., range: _Optional[_Union[DoubleRange, _Mapping]] = ...) -> None: ...

class BoolParameter(_message.Message):
    __slots__ = ("defaultValue",)
    DEFAULTVALUE_FIELD_NUMBER: _ClassVar[int]
    defaultValue: bool
    def __init__(self, defaultValue: _Optional[bool] = ...) -> None: ...

class KNearestNeighborsClassifier(_message.Message):
    __slots__ = ("nearestNeighborsIndex", "numberOfNeighbors", "stringClassLabels", "int64ClassLabels", "defaultStringLabel", "defaultInt64Label", "uniformWeighting", "inverseDistanceWeighting")
    NEARESTNEIGHBORSINDEX_FIELD_NUMBER: _ClassVar[int]
    NUMBEROFNEIGHBORS_FIELD_NUMBER: _ClassVar[int]
    STRINGCLASSLABELS_FIELD_NUMBER: _ClassVar[int]
    INT64CLASSLABELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULTSTRINGLABEL_FIELD_NUMBER: _ClassVar[int]
    DEFAULTINT64LABEL_FIELD_NUMBER: _ClassVar[int]
    UNIFORMWEIGHTING_FIELD_NUMBER: _ClassVar[int]
    INVERSEDISTANCEWEIGHTING_FIELD_NUMBER: _ClassVar[int]
    nearestNeighborsIndex: NearestNeighborsIndex
    numberOfNeighbors: Int64Parameter
    stringClassLabels: StringVector
    int64ClassLabels: Int64Vector
    defaultStringLabel: str
    defaultInt64Label: int
    uniformWeighting: UniformWeighting
    inverseDistanceWeighting: InverseDistanceWeighting
    def __init__(self, nearestNeighborsIndex: _Optional[_Union[NearestNeighborsIndex, _Mapping]] = ..., numberOfNeighbors: _Optional[_Union[Int64Parameter, _Mapping]] = ..., stringClassLabels: _Optional[_Union[StringVector, _Mapping]] = ..., int64ClassLabels: _Optional[_Union[Int64Vector, _Mapping]] = ..., defaultStringLabel: _Optional[str] = ..., defaultInt64Label: _Optional[int] = ..., uniformWeighting: _Optional[_Union[UniformWeighting, _Mapping]] = ..., inverseDistanceWeighting: _Optional[_Union[InverseDistanceWeighting, _Mapping]] = ...) -> None: ...

class NearestNeighborsIndex(_message.Message):
    __slots__ = ("numberOfDimensions", "floatSamples", "linearIndex", "singleKdTreeIndex", "squaredEuclideanDistance")
    NUMBEROFDIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    FLOATSAMPLES_FIELD_NUMBER: _ClassVar[int]
    LINEARINDEX_FIELD_NUMBER: _ClassVar[int]
    SINGLEKDTREEINDEX_FIELD_NUMBER: _ClassVar[int]
    SQUAREDEUCLIDEANDISTANCE_FIELD_NUMBER: _ClassVar[int]
    numberOfDimensions: int
    floatSamples: _containers.RepeatedCompositeFieldContainer[FloatVector]
    linearIndex: LinearIndex
    singleKdTreeIndex: SingleKdTreeIndex
    squaredEuclideanDistance: SquaredEuclideanDistance
    def __init__(self, numberOfDimensions: _Optional[int] = ..., floatSamples: _Optional[_Iterable[_Union[FloatVector, _Mapping]]] = ..., linearIndex: _Optional[_Union[LinearIndex, _Mapping]] = ..., singleKdTreeIndex: _Optional[_Union[SingleKdTreeIndex, _Mapping]] = ..., squaredEuclideanDistance: _Optional[_Union[SquaredEuclideanDistance, _Mapping]] = ...) -> None: ...

class UniformWeighting(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InverseDistanceWeighting(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LinearIndex(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SingleKdTreeIndex(_message.Message):
    __slots__ = ("leafSize",)
    LEAFSIZE_FIELD_NUMBER: _ClassVar[int]
    leafSize: int
    def __init__(self, leafSize: _Optional[int] = ...) -> None: ...

class SquaredEuclideanDistance(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NeuralNetwork(_message.Message):
    __slots__ = ("layers", "preprocessing", "arrayInputShapeMapping", "imageInputShapeMapping", "updateParams")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    ARRAYINPUTSHAPEMAPPING_FIELD_NUMBER: _ClassVar[int]
    IMAGEINPUTSHAPEMAPPING_FIELD_NUMBER: _ClassVar[int]
    UPDATEPARAMS_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[NeuralNetworkLayer]
    preprocessing: _containers.RepeatedCompositeFieldContainer[NeuralNetworkPreprocessing]
    arrayInputShapeMapping: NeuralNetworkMultiArrayShapeMapping
    imageInputShapeMapping: NeuralNetworkImageShapeMapping
    updateParams: NetworkUpdateParameters
    def __init__(self, layers: _Optional[_Iterable[_Union[NeuralNetworkLayer, _Mapping]]] = ..., preprocessing: _Optional[_Iterable[_Union[NeuralNetworkPreprocessing, _Mapping]]] = ..., arrayInputShapeMapping: _Optional[_Union[NeuralNetworkMultiArrayShapeMapping, str]] = ..., imageInputShapeMapping: _Optional[_Union[NeuralNetworkImageShapeMapping, str]] = ..., updateParams: _Optional[_Union[NetworkUpdateParameters, _Mapping]] = ...) -> None: ...

class NeuralNetworkClassifier(_message.Message):
    __slots__ = ("layers", "preprocessing", "arrayInputShapeMapping", "imageInputShapeMapping", "updateParams", "stringClassLabels", "int64ClassLabels", "labelProbabilityLayerName")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    ARRAYINPUTSHAPEMAPPING_FIELD_NUMBER: _ClassVar[int]
    IMAGEINPUTSHAPEMAPPING_FIELD_NUMBER: _ClassVar[int]
    UPDATEPARAMS_FIELD_NUMBER: _ClassVar[int]
    STRINGCLASSLABELS_FIELD_NUMBER: _ClassVar[int]
    INT64CLASSLABELS_FIELD_NUMBER: _ClassVar[int]
    LABELPROBABILITYLAYERNAME_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[NeuralNetworkLayer]
    preprocessing: _containers.RepeatedCompositeFieldContainer[NeuralNetworkPreprocessing]
    arrayInputShapeMapping: NeuralNetworkMultiArrayShapeMapping
    imageInputShapeMapping: NeuralNetworkImageShapeMapping
    updateParams: NetworkUpdateParameters
    stringClassLabels: StringVector
    int64ClassLabels: Int64Vector
    labelProbabilityLayerName: str
    def __init__(self, layers: _Optional[_Iterable[_Union[NeuralNetworkLayer, _Mapping]]] = ..., preprocessing: _Optional[_Iterable[_Union[NeuralNetworkPreprocessing, _Mapping]]] = ..., arrayInputShapeMapping: _Optional[_Union[NeuralNetworkMultiArrayShapeMapping, str]] = ..., imageInputShapeMapping: _Optional[_Union[NeuralNetworkImageShapeMapping, str]] = ..., updateParams: _Optional[_Union[NetworkUpdateParameters, _Mapping]] = ..., stringClassLabels: _Optional[_Union[StringVector, _Mapping]] = ..., int64ClassLabels: _Optional[_Union[Int64Vector, _Mapping]] = ..., labelProbabilityLayerName: _Optional[str] = ...) -> None: ...

class NeuralNetworkRegressor(_message.Message):
    __slots__ = ("layers", "preprocessing", "arrayInputShapeMapping", "imageInputShapeMapping", "updateParams")
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    ARRAYINPUTSHAPEMAPPING_FIELD_NUMBER: _ClassVar[int]
    IMAGEINPUTSHAPEMAPPING_FIELD_NUMBER: _ClassVar[int]
    UPDATEPARAMS_FIELD_NUMBER: _ClassVar[int]
    layers: _containers.RepeatedCompositeFieldContainer[NeuralNetworkLayer]
    preprocessing: _containers.RepeatedCompositeFieldContainer[NeuralNetworkPreprocessing]
    arrayInputShapeMapping: NeuralNetworkMultiArrayShapeMapping
    imageInputShapeMapping: NeuralNetworkImageShapeMapping
    updateParams: NetworkUpdateParameters
    def __init__(self, layers: _Optional[_Iterable[_Union[NeuralNetworkLayer, _Mapping]]] = ..., preprocessing: _Optional[_Iterable[_Union[NeuralNetworkPreprocessing, _Mapping]]] = ..., arrayInputShapeMapping: _Optional[_Union[NeuralNetworkMultiArrayShapeMapping, str]] = ..., imageInputShapeMapping: _Optional[_Union[NeuralNetworkImageShapeMapping, str]] = ..., updateParams: _Optional[_Union[NetworkUpdateParameters, _Mapping]] = ...) -> None: ...

class NeuralNetworkPreprocessing(_message.Message):
    __slots__ = ("featureName", "scaler", "meanImage")
    FEATURENAME_FIELD_NUMBER: _ClassVar[int]
    SCALER_FIELD_NUMBER: _ClassVar[int]
    MEANIMAGE_FIELD_NUMBER: _ClassVar[int]
    featureName: str
    scaler: NeuralNetworkImageScaler
    meanImage: NeuralNetworkMeanImage
    def __init__(self, featureName: _Optional[str] = ..., scaler: _Optional[_Union[NeuralNetworkImageScaler, _Mapping]] = ..., meanImage: _Optional[_Union[NeuralNetworkMeanImage, _Mapping]] = ...) -> None: ...

class NeuralNetworkImageScaler(_message.Message):
    __slots__ = ("channelScale", "blueBias", "greenBias", "redBias", "grayBias")
    CHANNELSCALE_FIELD_NUMBER: _ClassVar[int]
    BLUEBIAS_FIELD_NUMBER: _ClassVar[int]
    GREENBIAS_FIELD_NUMBER: _ClassVar[int]
    REDBIAS_FIELD_NUMBER: _ClassVar[int]
    GRAYBIAS_FIELD_NUMBER: _ClassVar[int]
    channelScale: float
    blueBias: float
    greenBias: float
    redBias: float
    grayBias: float
    def __init__(self, channelScale: _Optional[float] = ..., blueBias: _Optional[float] = ..., greenBias: _Optional[float] = ..., redBias: _Optional[float] = ..., grayBias: _Optional[float] = ...) -> None: ...

class NeuralNetworkMeanImage(_message.Message):
    __slots__ = ("meanImage",)
    MEANIMAGE_FIELD_NUMBER: _ClassVar[int]
    meanImage: bytes
    def __init__(self, meanImage: _Optional[bytes] = ...) -> None: ...

class NetworkUpdateParameters(_message.Message):
    __slots__ = ("lossLayers", "optimizer", "epochs", "shuffle", "seed")
    LOSSLAYERS_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SHUFFLE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    lossLayers: _containers.RepeatedCompositeFieldContainer[LossLayer]
    optimizer: Optimizer
    epochs: Int64Parameter
    shuffle: BoolParameter
    seed: Int64Parameter
    def __init__(self, lossLayers: _Optional[_Iterable[_Union[LossLayer, _Mapping]]] = ..., optimizer: _Optional[_Union[Optimizer, _Mapping]] = ..., epochs: _Optional[_Union[Int64Parameter, _Mapping]] = ..., shuffle: _Optional[_Union[BoolParameter, _Mapping]] = ..., seed: _Optional[_Union[Int64Parameter, _Mapping]] = ...) -> None: ...

class LossLayer(_message.Message):
    __slots__ = ("name", "categoricalCrossEntropyLossLayer", "meanSquaredErrorLossLayer")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CATEGORICALCROSSENTROPYLOSSLAYER_FIELD_NUMBER: _ClassVar[int]
    MEANSQUAREDERRORLOSSLAYER_FIELD_NUMBER: _ClassVar[int]
    name: str
    categoricalCrossEntropyLossLayer: CategoricalCrossEntropyLossLayer
    meanSquaredErrorLossLayer: MeanSquaredErrorLossLayer
    def __init__(self, name: _Optional[str] = ..., categoricalCrossEntropyLossLayer: _Optional[_Union[CategoricalCrossEntropyLossLayer, _Mapping]] = ..., meanSquaredErrorLossLayer: _Optional[_Union[MeanSquaredErrorLossLayer, _Mapping]] = ...) -> None: ...

class CategoricalCrossEntropyLossLayer(_message.Message):
    __slots__ = ("input", "target")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    input: str
    target: str
    def __init__(self, input: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class MeanSquaredErrorLossLayer(_message.Message):
    __slots__ = ("input", "target")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    input: str
    target: str
    def __init__(self, input: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class Optimizer(_message.Message):
    __slots__ = ("sgdOptimizer", "adamOptimizer")
    SGDOPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    ADAMOPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    sgdOptimizer: SGDOptimizer
    adamOptimizer: AdamOptimizer
    def __init__(self, sgdOptimizer: _Optional[_Union[SGDOptimizer, _Mapping]] = ..., adamOptimizer: _Optional[_Union[AdamOptimizer, _Mapping]] = ...) -> None: ...

class SGDOptimizer(_message.Message):
    __slots__ = ("learningRate", "miniBatchSize", "momentum")
    LEARNINGRATE_FIELD_NUMBER: _ClassVar[int]
    MINIBATCHSIZE_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    learningRate: DoubleParameter
    miniBatchSize: Int64Parameter
    momentum: DoubleParameter
    def __init__(self, learningRate: _Optional[_Union[DoubleParameter, _Mapping]] = ..., miniBatchSize: _Optional[_Union[Int64Parameter, _Mapping]] = ..., momentum: _Optional[_Union[DoubleParameter, _Mapping]] = ...) -> None: ...

class AdamOptimizer(_message.Message):
    __slots__ = ("learningRate", "miniBatchSize", "beta1", "beta2", "eps")
    LEARNINGRATE_FIELD_NUMBER: _ClassVar[int]
    MINIBATCHSIZE_FIELD_NUMBER: _ClassVar[int]
    BETA1_FIELD_NUMBER: _ClassVar[int]
    BETA2_FIELD_NUMBER: _ClassVar[int]
    EPS_FIELD_NUMBER: _ClassVar[int]
    learningRate: DoubleParameter
    miniBatchSize: Int64Parameter
    beta1: DoubleParameter
    beta2: DoubleParameter
    eps: DoubleParameter
    def __init__(self, learningRate: _Optional[_Union[DoubleParameter, _Mapping]] = ..., miniBatchSize: _Optional[_Union[Int64Parameter, _Mapping]] = ..., beta1: _Optional[_Union[DoubleParameter, _Mapping]] = ..., beta2: _Optional[_Union[DoubleParameter, _Mapping]] = ..., eps: _Optional[_Union[DoubleParameter, _Mapping]] = ...) -> None: ...

class WeightParams(_message.Message):
    __slots__ = ("floatValue", "float16Value", "rawValue", "int8RawValue", "quantization", "isUpdatable")
    FLOATVALUE_FIELD_NUMBER: _ClassVar[int]
    FLOAT16VALUE_FIELD_NUMBER: _ClassVar[int]
    RAWVALUE_FIELD_NUMBER: _ClassVar[int]
    INT8RAWVALUE_FIELD_NUMBER: _ClassVar[int]
    QUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    ISUPDATABLE_FIELD_NUMBER: _ClassVar[int]
    floatValue: bytes
    float16Value: bytes
    rawValue: bytes
    int8RawValue: bytes
    quantization: QuantizationParams
    isUpdatable: bool
    def __init__(self, floatValue: _Optional[bytes] = ..., float16Value: _Optional[bytes] = ..., rawValue: _Optional[bytes] = ..., int8RawValue: _Optional[bytes] = ..., quantization: _Optional[_Union[QuantizationParams, _Mapping]] = ..., isUpdatable: _Optional[bool] = ...) -> None: ...

class QuantizationParams(_message.Message):
    __slots__ = ("numberOfBits", "linearQuantization", "lookupTableQuantization")
    NUMBEROFBITS_FIELD_NUMBER: _ClassVar[int]
    LINEARQUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    LOOKUPTABLEQUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    numberOfBits: int
    linearQuantization: LinearQuantizationParams
    lookupTableQuantization: LookUpTableQuantizationParams
    def __init__(self, numberOfBits: _Optional[int] = ..., linearQuantization: _Optional[_Union[LinearQuantizationParams, _Mapping]] = ..., lookupTableQuantization: _Optional[_Union[LookUpTableQuantizationParams, _Mapping]] = ...) -> None: ...

class LinearQuantizationParams(_message.Message):
    __slots__ = ("scale", "bias")
    SCALE_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    scale: bytes
    bias: bytes
    def __init__(self, scale: _Optional[bytes] = ..., bias: _Optional[bytes] = ...) -> None: ...

class LookUpTableQuantizationParams(_message.Message):
    __slots__ = ("floatValue",)
    FLOATVALUE_FIELD_NUMBER: _ClassVar[int]
    floatValue: bytes
    def __init__(self, floatValue: _Optional[bytes] = ...) -> None: ...

class NeuralNetworkLayer(_message.Message):
    __slots__ = ("name", "input", "output", "inputTensor", "outputTensor", "isUpdatable", "convolution", "pooling", "activation", "innerProduct", "embedding", "batchnorm", "mvn", "l2normalize", "softmax", "lrn", "crop", "padding", "upsample", "resizeBilinear", "cropResize", "unary", "add", "multiply", "average", "scale", "bias", "max", "min", "dot", "reduce", "loadConstant", "reshape", "flatten", "permute", "concat", "split", "sequenceRepeat", "reorganizeData", "slice", "simpleRecurrent", "gru", "uniDirectionalLSTM", "biDirectionalLSTM", "custom", "copy", "branch", "loop", "loopBreak", "loopContinue", "rangeStatic", "rangeDynamic", "clip", "ceil", "floor", "sign", "round", "exp2", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "gelu", "equal", "notEqual", "lessThan", "lessEqual", "greaterThan", "greaterEqual", "logicalOr", "logicalXor", "logicalNot", "logicalAnd", "modBroadcastable", "minBroadcastable", "maxBroadcastable", "addBroadcastable", "powBroadcastable", "divideBroadcastable", "floorDivBroadcastable", "multiplyBroadcastable", "subtractBroadcastable", "tile", "stack", "gather", "scatter", "gatherND", "scatterND", "softmaxND", "gatherAlongAxis", "scatterAlongAxis", "reverse", "reverseSeq", "splitND", "concatND", "transpose", "sliceStatic", "sliceDynamic", "slidingWindows", "topK", "argMin", "argMax", "embeddingND", "batchedMatmul", "getShape", "loadConstantND", "fillLike", "fillStatic", "fillDynamic", "broadcastToLike", "broadcastToStatic", "broadcastToDynamic", "squeeze", "expandDims", "flattenTo2D", "reshapeLike", "reshapeStatic", "reshapeDynamic", "rankPreservingReshape", "constantPad", "randomNormalLike", "randomNormalStatic", "randomNormalDynamic", "randomUniformLike", "randomUniformStatic", "randomUniformDynamic", "randomBernoulliLike", "randomBernoulliStatic", "randomBernoulliDynamic", "categoricalDistribution", "reduceL1", "reduceL2", "reduceMax", "reduceMin", "reduceSum", "reduceProd", "reduceMean", "reduceLogSum", "reduceSumSquare", "reduceLogSumExp", "whereNonZero", "matrixBandPart", "lowerTriangular", "upperTriangular", "whereBroadcastable", "layerNormalization", "NonMaximumSuppression", "oneHot", "cumSum", "clampedReLU", "argSort", "pooling3d", "globalPooling3d", "sliceBySize", "convolution3d")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    INPUTTENSOR_FIELD_NUMBER: _ClassVar[int]
    OUTPUTTENSOR_FIELD_NUMBER: _ClassVar[int]
    ISUPDATABLE_FIELD_NUMBER: _ClassVar[int]
    CONVOLUTION_FIELD_NUMBER: _ClassVar[int]
    POOLING_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    INNERPRODUCT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    BATCHNORM_FIELD_NUMBER: _ClassVar[int]
    MVN_FIELD_NUMBER: _ClassVar[int]
    L2NORMALIZE_FIELD_NUMBER: _ClassVar[int]
    SOFTMAX_FIELD_NUMBER: _ClassVar[int]
    LRN_FIELD_NUMBER: _ClassVar[int]
    CROP_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    UPSAMPLE_FIELD_NUMBER: _ClassVar[int]
    RESIZEBILINEAR_FIELD_NUMBER: _ClassVar[int]
    CROPRESIZE_FIELD_NUMBER: _ClassVar[int]
    UNARY_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    MULTIPLY_FIELD_NUMBER: _ClassVar[int]
    AVERAGE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    DOT_FIELD_NUMBER: _ClassVar[int]
    REDUCE_FIELD_NUMBER: _ClassVar[int]
    LOADCONSTANT_FIELD_NUMBER: _ClassVar[int]
    RESHAPE_FIELD_NUMBER: _ClassVar[int]
    FLATTEN_FIELD_NUMBER: _ClassVar[int]
    PERMUTE_FIELD_NUMBER: _ClassVar[int]
    CONCAT_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCEREPEAT_FIELD_NUMBER: _ClassVar[int]
    REORGANIZEDATA_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    SIMPLERECURRENT_FIELD_NUMBER: _ClassVar[int]
    GRU_FIELD_NUMBER: _ClassVar[int]
    UNIDIRECTIONALLSTM_FIELD_NUMBER: _ClassVar[int]
    BIDIRECTIONALLSTM_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    LOOPBREAK_FIELD_NUMBER: _ClassVar[int]
    LOOPCONTINUE_FIELD_NUMBER: _ClassVar[int]
    RANGESTATIC_FIELD_NUMBER: _ClassVar[int]
    RANGEDYNAMIC_FIELD_NUMBER: _ClassVar[int]
    CLIP_FIELD_NUMBER: _ClassVar[int]
    CEIL_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    SIGN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    EXP2_FIELD_NUMBER: _ClassVar[int]
    SIN_FIELD_NUMBER: _ClassVar[int]
    COS_FIELD_NUMBER: _ClassVar[int]
    TAN_FIELD_NUMBER: _ClassVar[int]
    ASIN_FIELD_NUMBER: _ClassVar[int]
    ACOS_FIELD_NUMBER: _ClassVar[int]
    ATAN_FIELD_NUMBER: _ClassVar[int]
    SINH_FIELD_NUMBER: _ClassVar[int]
    COSH_FIELD_NUMBER: _ClassVar[int]
    TANH_FIELD_NUMBER: _ClassVar[int]
    ASINH_FIELD_NUMBER: _ClassVar[int]
    ACOSH_FIELD_NUMBER: _ClassVar[int]
    ATANH_FIELD_NUMBER: _ClassVar[int]
    ERF_FIELD_NUMBER: _ClassVar[int]
    GELU_FIELD_NUMBER: _ClassVar[int]
    EQUAL_FIELD_NUMBER: _ClassVar[int]
    NOTEQUAL_FIELD_NUMBER: _ClassVar[int]
    LESSTHAN_FIELD_NUMBER: _ClassVar[int]
    LESSEQUAL_FIELD_NUMBER: _ClassVar[int]
    GREATERTHAN_FIELD_NUMBER: _ClassVar[int]
    GREATEREQUAL_FIELD_NUMBER: _ClassVar[int]
    LOGICALOR_FIELD_NUMBER: _ClassVar[int]
    LOGICALXOR_FIELD_NUMBER: _ClassVar[int]
    LOGICALNOT_FIELD_NUMBER: _ClassVar[int]
    LOGICALAND_FIELD_NUMBER: _ClassVar[int]
    MODBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    MINBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    MAXBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    ADDBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    POWBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    DIVIDEBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    FLOORDIVBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    MULTIPLYBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    SUBTRACTBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    TILE_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    GATHER_FIELD_NUMBER: _ClassVar[int]
    SCATTER_FIELD_NUMBER: _ClassVar[int]
    GATHERND_FIELD_NUMBER: _ClassVar[int]
    SCATTERND_FIELD_NUMBER: _ClassVar[int]
    SOFTMAXND_FIELD_NUMBER: _ClassVar[int]
    GATHERALONGAXIS_FIELD_NUMBER: _ClassVar[int]
    SCATTERALONGAXIS_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    REVERSESEQ_FIELD_NUMBER: _ClassVar[int]
    SPLITND_FIELD_NUMBER: _ClassVar[int]
    CONCATND_FIELD_NUMBER: _ClassVar[int]
    TRANSPOSE_FIELD_NUMBER: _ClassVar[int]
    SLICESTATIC_FIELD_NUMBER: _ClassVar[int]
    SLICEDYNAMIC_FIELD_NUMBER: _ClassVar[int]
    SLIDINGWINDOWS_FIELD_NUMBER: _ClassVar[int]
    TOPK_FIELD_NUMBER: _ClassVar[int]
    ARGMIN_FIELD_NUMBER: _ClassVar[int]
    ARGMAX_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGND_FIELD_NUMBER: _ClassVar[int]
    BATCHEDMATMUL_FIELD_NUMBER: _ClassVar[int]
    GETSHAPE_FIELD_NUMBER: _ClassVar[int]
    LOADCONSTANTND_FIELD_NUMBER: _ClassVar[int]
    FILLLIKE_FIELD_NUMBER: _ClassVar[int]
    FILLSTATIC_FIELD_NUMBER: _ClassVar[int]
    FILLDYNAMIC_FIELD_NUMBER: _ClassVar[int]
    BROADCASTTOLIKE_FIELD_NUMBER: _ClassVar[int]
    BROADCASTTOSTATIC_FIELD_NUMBER: _ClassVar[int]
    BROADCASTTODYNAMIC_FIELD_NUMBER: _ClassVar[int]
    SQUEEZE_FIELD_NUMBER: _ClassVar[int]
    EXPANDDIMS_FIELD_NUMBER: _ClassVar[int]
    FLATTENTO2D_FIELD_NUMBER: _ClassVar[int]
    RESHAPELIKE_FIELD_NUMBER: _ClassVar[int]
    RESHAPESTATIC_FIELD_NUMBER: _ClassVar[int]
    RESHAPEDYNAMIC_FIELD_NUMBER: _ClassVar[int]
    RANKPRESERVINGRESHAPE_FIELD_NUMBER: _ClassVar[int]
    CONSTANTPAD_FIELD_NUMBER: _ClassVar[int]
    RANDOMNORMALLIKE_FIELD_NUMBER: _ClassVar[int]
    RANDOMNORMALSTATIC_FIELD_NUMBER: _ClassVar[int]
    RANDOMNORMALDYNAMIC_FIELD_NUMBER: _ClassVar[int]
    RANDOMUNIFORMLIKE_FIELD_NUMBER: _ClassVar[int]
    RANDOMUNIFORMSTATIC_FIELD_NUMBER: _ClassVar[int]
    RANDOMUNIFORMDYNAMIC_FIELD_NUMBER: _ClassVar[int]
    RANDOMBERNOULLILIKE_FIELD_NUMBER: _ClassVar[int]
    RANDOMBERNOULLISTATIC_FIELD_NUMBER: _ClassVar[int]
    RANDOMBERNOULLIDYNAMIC_FIELD_NUMBER: _ClassVar[int]
    CATEGORICALDISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    REDUCEL1_FIELD_NUMBER: _ClassVar[int]
    REDUCEL2_FIELD_NUMBER: _ClassVar[int]
    REDUCEMAX_FIELD_NUMBER: _ClassVar[int]
    REDUCEMIN_FIELD_NUMBER: _ClassVar[int]
    REDUCESUM_FIELD_NUMBER: _ClassVar[int]
    REDUCEPROD_FIELD_NUMBER: _ClassVar[int]
    REDUCEMEAN_FIELD_NUMBER: _ClassVar[int]
    REDUCELOGSUM_FIELD_NUMBER: _ClassVar[int]
    REDUCESUMSQUARE_FIELD_NUMBER: _ClassVar[int]
    REDUCELOGSUMEXP_FIELD_NUMBER: _ClassVar[int]
    WHERENONZERO_FIELD_NUMBER: _ClassVar[int]
    MATRIXBANDPART_FIELD_NUMBER: _ClassVar[int]
    LOWERTRIANGULAR_FIELD_NUMBER: _ClassVar[int]
    UPPERTRIANGULAR_FIELD_NUMBER: _ClassVar[int]
    WHEREBROADCASTABLE_FIELD_NUMBER: _ClassVar[int]
    LAYERNORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    NONMAXIMUMSUPPRESSION_FIELD_NUMBER: _ClassVar[int]
    ONEHOT_FIELD_NUMBER: _ClassVar[int]
    CUMSUM_FIELD_NUMBER: _ClassVar[int]
    CLAMPEDRELU_FIELD_NUMBER: _ClassVar[int]
    ARGSORT_FIELD_NUMBER: _ClassVar[int]
    POOLING3D_FIELD_NUMBER: _ClassVar[int]
    GLOBALPOOLING3D_FIELD_NUMBER: _ClassVar[int]
    SLICEBYSIZE_FIELD_NUMBER: _ClassVar[int]
    CONVOLUTION3D_FIELD_NUMBER: _ClassVar[int]
    name: str
    input: _containers.RepeatedScalarFieldContainer[str]
    output: _containers.RepeatedScalarFieldContainer[str]
    inputTensor: _containers.RepeatedCompositeFieldContainer[Tensor]
    outputTensor: _containers.RepeatedCompositeFieldContainer[Tensor]
    isUpdatable: bool
    convolution: ConvolutionLayerParams
    pooling: PoolingLayerParams
    activation: ActivationParams
    innerProduct: InnerProductLayerParams
    embedding: EmbeddingLayerParams
    batchnorm: BatchnormLayerParams
    mvn: Unread
    l2normalize: L2NormalizeLayerParams
    softmax: Unread
    lrn: LRNLayerParams
    crop: CropLayerParams
    padding: PaddingLayerParams
    upsample: UpsampleLayerParams
    resizeBilinear: Unread
    cropResize: Unread
    unary: UnaryFunctionLayerParams
    add: AddLayerParams
    multiply: MultiplyLayerParams
    average: Unread
    scale: ScaleLayerParams
    bias: BiasLayerParams
    max: Unread
    min: Unread
    dot: Unread
    reduce: ReduceLayerParams
    loadConstant: Unread
    reshape: ReshapeLayerParams
    flatten: FlattenLayerParams
    permute: PermuteLayerParams
    concat: ConcatLayerParams
    split: Unread
    sequenceRepeat: Unread
    reorganizeData: Unread
    slice: SliceLayerParams
    simpleRecurrent: Unread
    gru: Unread
    uniDirectionalLSTM: Unread
    biDirectionalLSTM: Unread
    custom: Unread
    copy: Unread
    branch: Unread
    loop: Unread
    loopBreak: Unread
    loopContinue: Unread
    rangeStatic: Unread
    rangeDynamic: Unread
    clip: ClipLayerParams
    ceil: Unread
    floor: Unread
    sign: Unread
    round: Unread
    exp2: Unread
    sin: Unread
    cos: Unread
    tan: Unread
    asin: Unread
    acos: Unread
    atan: Unread
    sinh: Unread
    cosh: Unread
    tanh: Unread
    asinh: Unread
    acosh: Unread
    atanh: Unread
    erf: Unread
    gelu: Unread
    equal: Unread
    notEqual: Unread
    lessThan: Unread
    lessEqual: Unread
    greaterThan: Unread
    greaterEqual: Unread
    logicalOr: Unread
    logicalXor: Unread
    logicalNot: Unread
    logicalAnd: Unread
    modBroadcastable: Unread
    minBroadcastable: Unread
    maxBroadcastable: Unread
    addBroadcastable: Unread
    powBroadcastable: Unread
    divideBroadcastable: Unread
    floorDivBroadcastable: Unread
    multiplyBroadcastable: Unread
    subtractBroadcastable: Unread
    tile: Unread
    stack: Unread
    gather: Unread
    scatter: Unread
    gatherND: Unread
    scatterND: Unread
    softmaxND: Unread
    gatherAlongAxis: Unread
    scatterAlongAxis: Unread
    reverse: Unread
    reverseSeq: Unread
    splitND: Unread
    concatND: Unread
    transpose: Unread
    sliceStatic: Unread
    sliceDynamic: Unread
    slidingWindows: Unread
    topK: Unread
    argMin: Unread
    argMax: Unread
    embeddingND: Unread
    batchedMatmul: Unread
    getShape: Unread
    loadConstantND: Unread
    fillLike: Unread
    fillStatic: Unread
    fillDynamic: Unread
    broadcastToLike: Unread
    broadcastToStatic: Unread
    broadcastToDynamic: Unread
    squeeze: Unread
    expandDims: Unread
    flattenTo2D: Unread
    reshapeLike: Unread
    reshapeStatic: Unread
    reshapeDynamic: Unread
    rankPreservingReshape: Unread
    constantPad: Unread
    randomNormalLike: Unread
    randomNormalStatic: Unread
    randomNormalDynamic: Unread
    randomUniformLike: Unread
    randomUniformStatic: Unread
    randomUniformDynamic: Unread
    randomBernoulliLike: Unread
    randomBernoulliStatic: Unread
    randomBernoulliDynamic: Unread
    categoricalDistribution: Unread
    reduceL1: Unread
    reduceL2: Unread
    reduceMax: Unread
    reduceMin: Unread
    reduceSum: Unread
    reduceProd: Unread
    reduceMean: Unread
    reduceLogSum: Unread
    reduceSumSquare: Unread
    reduceLogSumExp: Unread
    whereNonZero: Unread
    matrixBandPart: Unread
    lowerTriangular: Unread
    upperTriangular: Unread
    whereBroadcastable: Unread
    layerNormalization: Unread
    NonMaximumSuppression: Unread
    oneHot: Unread
    cumSum: Unread
    clampedReLU: Unread
    argSort: Unread
    pooling3d: Unread
    globalPooling3d: Unread
    sliceBySize: Unread
    convolution3d: Unread
    def __init__(self, name: _Optional[str] = ..., input: _Optional[_Iterable[str]] = ..., output: _Optional[_Iterable[str]] = ..., inputTensor: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., outputTensor: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., isUpdatable: _Optional[bool] = ..., convolution: _Optional[_Union[ConvolutionLayerParams, _Mapping]] = ..., pooling: _Optional[_Union[PoolingLayerParams, _Mapping]] = ..., activation: _Optional[_Union[ActivationParams, _Mapping]] = ..., innerProduct: _Optional[_Union[InnerProductLayerParams, _Mapping]] = ..., embedding: _Optional[_Union[EmbeddingLayerParams, _Mapping]] = ..., batchnorm: _Optional[_Union[BatchnormLayerParams, _Mapping]] = ..., mvn: _Optional[_Union[Unread, _Mapping]] = ..., l2normalize: _Optional[_Union[L2NormalizeLayerParams, _Mapping]] = ..., softmax: _Optional[_Union[Unread, _Mapping]] = ..., lrn: _Optional[_Union[LRNLayerParams, _Mapping]] = ..., crop: _Optional[_Union[CropLayerParams, _Mapping]] = ..., padding: _Optional[_Union[PaddingLayerParams, _Mapping]] = ..., upsample: _Optional[_Union[UpsampleLayerParams, _Mapping]] = ..., resizeBilinear: _Optional[_Union[Unread, _Mapping]] = ..., cropResize: _Optional[_Union[Unread, _Mapping]] = ..., unary: _Optional[_Union[UnaryFunctionLayerParams, _Mapping]] = ..., add: _Optional[_Union[AddLayerParams, _Mapping]] = ..., multiply: _Optional[_Union[MultiplyLayerParams, _Mapping]] = ..., average: _Optional[_Union[Unread, _Mapping]] = ..., scale: _Optional[_Union[ScaleLayerParams, _Mapping]] = ..., bias: _Optional[_Union[BiasLayerParams, _Mapping]] = ..., max: _Optional[_Union[Unread, _Mapping]] = ..., min: _Optional[_Union[Unread, _Mapping]] = ..., dot: _Optional[_Union[Unread, _Mapping]] = ..., reduce: _Optional[_Union[ReduceLayerParams, _Mapping]] = ..., loadConstant: _Optional[_Union[Unread, _Mapping]] = ..., reshape: _Optional[_Union[ReshapeLayerParams, _Mapping]] = ..., flatten: _Optional[_Union[FlattenLayerParams, _Mapping]] = ..., permute: _Optional[_Union[PermuteLayerParams, _Mapping]] = ..., concat: _Optional[_Union[ConcatLayerParams, _Mapping]] = ..., split: _Optional[_Union[Unread, _Mapping]] = ..., sequenceRepeat: _Optional[_Union[Unread, _Mapping]] = ..., reorganizeData: _Optional[_Union[Unread, _Mapping]] = ..., slice: _Optional[_Union[SliceLayerParams, _Mapping]] = ..., simpleRecurrent: _Optional[_Union[Unread, _Mapping]] = ..., gru: _Optional[_Union[Unread, _Mapping]] = ..., uniDirectionalLSTM: _Optional[_Union[Unread, _Mapping]] = ..., biDirectionalLSTM: _Optional[_Union[Unread, _Mapping]] = ..., custom: _Optional[_Union[Unread, _Mapping]] = ..., copy: _Optional[_Union[Unread, _Mapping]] = ..., branch: _Optional[_Union[Unread, _Mapping]] = ..., loop: _Optional[_Union[Unread, _Mapping]] = ..., loopBreak: _Optional[_Union[Unread, _Mapping]] = ..., loopContinue: _Optional[_Union[Unread, _Mapping]] = ..., rangeStatic: _Optional[_Union[Unread, _Mapping]] = ..., rangeDynamic: _Optional[_Union[Unread, _Mapping]] = ..., clip: _Optional[_Union[ClipLayerParams, _Mapping]] = ..., ceil: _Optional[_Union[Unread, _Mapping]] = ..., floor: _Optional[_Union[Unread, _Mapping]] = ..., sign: _Optional[_Union[Unread, _Mapping]] = ..., round: _Optional[_Union[Unread, _Mapping]] = ..., exp2: _Optional[_Union[Unread, _Mapping]] = ..., sin: _Optional[_Union[Unread, _Mapping]] = ..., cos: _Optional[_Union[Unread, _Mapping]] = ..., tan: _Optional[_Union[Unread, _Mapping]] = ..., asin: _Optional[_Union[Unread, _Mapping]] = ..., acos: _Optional[_Union[Unread, _Mapping]] = ..., atan: _Optional[_Union[Unread, _Mapping]] = ..., sinh: _Optional[_Union[Unread, _Mapping]] = ..., cosh: _Optional[_Union[Unread, _Mapping]] = ..., tanh: _Optional[_Union[Unread, _Mapping]] = ..., asinh: _Optional[_Union[Unread, _Mapping]] = ..., acosh: _Optional[_Union[Unread, _Mapping]] = ..., atanh: _Optional[_Union[Unread, _Mapping]] = ..., erf: _Optional[_Union[Unread, _Mapping]] = ..., gelu: _Optional[_Union[Unread, _Mapping]] = ..., equal: _Optional[_Union[Unread, _Mapping]] = ..., notEqual: _Optional[_Union[Unread, _Mapping]] = ..., lessThan: _Optional[_Union[Unread, _Mapping]] = ..., lessEqual: _Optional[_Union[Unread, _Mapping]] = ..., greaterThan: _Optional[_Union[Unread, _Mapping]] = ..., greaterEqual: _Optional[_Union[Unread, _Mapping]] = ..., logicalOr: _Optional[_Union[Unread, _Mapping]] = ..., logicalXor: _Optional[_Union[Unread, _Mapping]] = ..., logicalNot: _Optional[_Union[Unread, _Mapping]] = ..., logicalAnd: _Optional[_Union[Unread, _Mapping]] = ..., modBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., minBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., maxBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., addBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., powBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., divideBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., floorDivBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., multiplyBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., subtractBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., tile: _Optional[_Union[Unread, _Mapping]] = ..., stack: _Optional[_Union[Unread, _Mapping]] = ..., gather: _Optional[_Union[Unread, _Mapping]] = ..., scatter: _Optional[_Union[Unread, _Mapping]] = ..., gatherND: _Optional[_Union[Unread, _Mapping]] = ..., scatterND: _Optional[_Union[Unread, _Mapping]] = ..., softmaxND: _Optional[_Union[Unread, _Mapping]] = ..., gatherAlongAxis: _Optional[_Union[Unread, _Mapping]] = ..., scatterAlongAxis: _Optional[_Union[Unread, _Mapping]] = ..., reverse: _Optional[_Union[Unread, _Mapping]] = ..., reverseSeq: _Optional[_Union[Unread, _Mapping]] = ..., splitND: _Optional[_Union[Unread, _Mapping]] = ..., concatND: _Optional[_Union[Unread, _Mapping]] = ..., transpose: _Optional[_Union[Unread, _Mapping]] = ..., sliceStatic: _Optional[_Union[Unread, _Mapping]] = ..., sliceDynamic: _Optional[_Union[Unread, _Mapping]] = ..., slidingWindows: _Optional[_Union[Unread, _Mapping]] = ..., topK: _Optional[_Union[Unread, _Mapping]] = ..., argMin: _Optional[_Union[Unread, _Mapping]] = ..., argMax: _Optional[_Union[Unread, _Mapping]] = ..., embeddingND: _Optional[_Union[Unread, _Mapping]] = ..., batchedMatmul: _Optional[_Union[Unread, _Mapping]] = ..., getShape: _Optional[_Union[Unread, _Mapping]] = ..., loadConstantND: _Optional[_Union[Unread, _Mapping]] = ..., fillLike: _Optional[_Union[Unread, _Mapping]] = ..., fillStatic: _Optional[_Union[Unread, _Mapping]] = ..., fillDynamic: _Optional[_Union[Unread, _Mapping]] = ..., broadcastToLike: _Optional[_Union[Unread, _Mapping]] = ..., broadcastToStatic: _Optional[_Union[Unread, _Mapping]] = ..., broadcastToDynamic: _Optional[_Union[Unread, _Mapping]] = ..., squeeze: _Optional[_Union[Unread, _Mapping]] = ..., expandDims: _Optional[_Union[Unread, _Mapping]] = ..., flattenTo2D: _Optional[_Union[Unread, _Mapping]] = ..., reshapeLike: _Optional[_Union[Unread, _Mapping]] = ..., reshapeStatic: _Optional[_Union[Unread, _Mapping]] = ..., reshapeDynamic: _Optional[_Union[Unread, _Mapping]] = ..., rankPreservingReshape: _Optional[_Union[Unread, _Mapping]] = ..., constantPad: _Optional[_Union[Unread, _Mapping]] = ..., randomNormalLike: _Optional[_Union[Unread, _Mapping]] = ..., randomNormalStatic: _Optional[_Union[Unread, _Mapping]] = ..., randomNormalDynamic: _Optional[_Union[Unread, _Mapping]] = ..., randomUniformLike: _Optional[_Union[Unread, _Mapping]] = ..., randomUniformStatic: _Optional[_Union[Unread, _Mapping]] = ..., randomUniformDynamic: _Optional[_Union[Unread, _Mapping]] = ..., randomBernoulliLike: _Optional[_Union[Unread, _Mapping]] = ..., randomBernoulliStatic: _Optional[_Union[Unread, _Mapping]] = ..., randomBernoulliDynamic: _Optional[_Union[Unread, _Mapping]] = ..., categoricalDistribution: _Optional[_Union[Unread, _Mapping]] = ..., reduceL1: _Optional[_Union[Unread, _Mapping]] = ..., reduceL2: _Optional[_Union[Unread, _Mapping]] = ..., reduceMax: _Optional[_Union[Unread, _Mapping]] = ..., reduceMin: _Optional[_Union[Unread, _Mapping]] = ..., reduceSum: _Optional[_Union[Unread, _Mapping]] = ..., reduceProd: _Optional[_Union[Unread, _Mapping]] = ..., reduceMean: _Optional[_Union[Unread, _Mapping]] = ..., reduceLogSum: _Optional[_Union[Unread, _Mapping]] = ..., reduceSumSquare: _Optional[_Union[Unread, _Mapping]] = ..., reduceLogSumExp: _Optional[_Union[Unread, _Mapping]] = ..., whereNonZero: _Optional[_Union[Unread, _Mapping]] = ..., matrixBandPart: _Optional[_Union[Unread, _Mapping]] = ..., lowerTriangular: _Optional[_Union[Unread, _Mapping]] = ..., upperTriangular: _Optional[_Union[Unread, _Mapping]] = ..., whereBroadcastable: _Optional[_Union[Unread, _Mapping]] = ..., layerNormalization: _Optional[_Union[Unread, _Mapping]] = ..., NonMaximumSuppression: _Optional[_Union[Unread, _Mapping]] = ..., oneHot: _Optional[_Union[Unread, _Mapping]] = ..., cumSum: _Optional[_Union[Unread, _Mapping]] = ..., clampedReLU: _Optional[_Union[Unread, _Mapping]] = ..., argSort: _Optional[_Union[Unread, _Mapping]] = ..., pooling3d: _Optional[_Union[Unread, _Mapping]] = ..., globalPooling3d: _Optional[_Union[Unread, _Mapping]] = ..., sliceBySize: _Optional[_Union[Unread, _Mapping]] = ..., convolution3d: _Optional[_Union[Unread, _Mapping]] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("rank", "dimValue")
    RANK_FIELD_NUMBER: _ClassVar[int]
    DIMVALUE_FIELD_NUMBER: _ClassVar[int]
    rank: int
    dimValue: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, rank: _Optional[int] = ..., dimValue: _Optional[_Iterable[int]] = ...) -> None: ...

class ConvolutionLayerParams(_message.Message):
    __slots__ = ("outputChannels", "kernelChannels", "nGroups", "kernelSize", "stride", "dilationFactor", "valid", "same", "isDeconvolution", "hasBias", "weights", "bias", "outputShape")
    OUTPUTCHANNELS_FIELD_NUMBER: _ClassVar[int]
    KERNELCHANNELS_FIELD_NUMBER: _ClassVar[int]
    NGROUPS_FIELD_NUMBER: _ClassVar[int]
    KERNELSIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    DILATIONFACTOR_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    ISDECONVOLUTION_FIELD_NUMBER: _ClassVar[int]
    HASBIAS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTSHAPE_FIELD_NUMBER: _ClassVar[int]
    outputChannels: int
    kernelChannels: int
    nGroups: int
    kernelSize: _containers.RepeatedScalarFieldContainer[int]
    stride: _containers.RepeatedScalarFieldContainer[int]
    dilationFactor: _containers.RepeatedScalarFieldContainer[int]
    valid: ValidPadding
    same: SamePadding
    isDeconvolution: bool
    hasBias: bool
    weights: WeightParams
    bias: WeightParams
    outputShape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, outputChannels: _Optional[int] = ..., kernelChannels: _Optional[int] = ..., nGroups: _Optional[int] = ..., kernelSize: _Optional[_Iterable[int]] = ..., stride: _Optional[_Iterable[int]] = ..., dilationFactor: _Optional[_Iterable[int]] = ..., valid: _Optional[_Union[ValidPadding, _Mapping]] = ..., same: _Optional[_Union[SamePadding, _Mapping]] = ..., isDeconvolution: _Optional[bool] = ..., hasBias: _Optional[bool] = ..., weights: _Optional[_Union[WeightParams, _Mapping]] = ..., bias: _Optional[_Union[WeightParams, _Mapping]] = ..., outputShape: _Optional[_Iterable[int]] = ...) -> None: ...

class ValidPadding(_message.Message):
    __slots__ = ("paddingAmounts",)
    PADDINGAMOUNTS_FIELD_NUMBER: _ClassVar[int]
    paddingAmounts: BorderAmounts
    def __init__(self, paddingAmounts: _Optional[_Union[BorderAmounts, _Mapping]] = ...) -> None: ...

class SamePadding(_message.Message):
    __slots__ = ("asymmetryMode",)
    class SamePaddingMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        BOTTOM_RIGHT_HEAVY: _ClassVar[SamePadding.SamePaddingMode]
        TOP_LEFT_HEAVY: _ClassVar[SamePadding.SamePaddingMode]
    BOTTOM_RIGHT_HEAVY: SamePadding.SamePaddingMode
    TOP_LEFT_HEAVY: SamePadding.SamePaddingMode
    ASYMMETRYMODE_FIELD_NUMBER: _ClassVar[int]
    asymmetryMode: SamePadding.SamePaddingMode
    def __init__(self, asymmetryMode: _Optional[_Union[SamePadding.SamePaddingMode, str]] = ...) -> None: ...

class BorderAmounts(_message.Message):
    __slots__ = ("borderAmounts",)
    class EdgeSizes(_message.Message):
        __slots__ = ("startEdgeSize", "endEdgeSize")
        STARTEDGESIZE_FIELD_NUMBER: _ClassVar[int]
        ENDEDGESIZE_FIELD_NUMBER: _ClassVar[int]
        startEdgeSize: int
        endEdgeSize: int
        def __init__(self, startEdgeSize: _Optional[int] = ..., endEdgeSize: _Optional[int] = ...) -> None: ...
    BORDERAMOUNTS_FIELD_NUMBER: _ClassVar[int]
    borderAmounts: _containers.RepeatedCompositeFieldContainer[BorderAmounts.EdgeSizes]
    def __init__(self, borderAmounts: _Optional[_Iterable[_Union[BorderAmounts.EdgeSizes, _Mapping]]] = ...) -> None: ...

class PoolingLayerParams(_message.Message):
    __slots__ = ("type", "kernelSize", "stride", "valid", "same", "includeLastPixel", "avgPoolExcludePadding", "globalPooling")
    class PoolingType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MAX: _ClassVar[PoolingLayerParams.PoolingType]
        AVERAGE: _ClassVar[PoolingLayerParams.PoolingType]
        L2: _ClassVar[PoolingLayerParams.PoolingType]
    MAX: PoolingLayerParams.PoolingType
    AVERAGE: PoolingLayerParams.PoolingType
    L2: PoolingLayerParams.PoolingType
    class ValidCompletePadding(_message.Message):
        __slots__ = ("paddingAmounts",)
        PADDINGAMOUNTS_FIELD_NUMBER: _ClassVar[int]
        paddingAmounts: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, paddingAmounts: _Optional[_Iterable[int]] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KERNELSIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    VALID_FIELD_NUMBER: _ClassVar[int]
    SAME_FIELD_NUMBER: _ClassVar[int]
    INCLUDELASTPIXEL_FIELD_NUMBER: _ClassVar[int]
    AVGPOOLEXCLUDEPADDING_FIELD_NUMBER: _ClassVar[int]
    GLOBALPOOLING_FIELD_NUMBER: _ClassVar[int]
    type: PoolingLayerParams.PoolingType
    kernelSize: _containers.RepeatedScalarFieldContainer[int]
    stride: _containers.RepeatedScalarFieldContainer[int]
    valid: ValidPadding
    same: SamePadding
    includeLastPixel: PoolingLayerParams.ValidCompletePadding
    avgPoolExcludePadding: bool
    globalPooling: bool
    def __init__(self, type: _Optional[_Union[PoolingLayerParams.PoolingType, str]] = ..., kernelSize: _Optional[_Iterable[int]] = ..., stride: _Optional[_Iterable[int]] = ..., valid: _Optional[_Union[ValidPadding, _Mapping]] = ..., same: _Optional[_Union[SamePadding, _Mapping]] = ..., includeLastPixel: _Optional[_Union[PoolingLayerParams.ValidCompletePadding, _Mapping]] = ..., avgPoolExcludePadding: _Optional[bool] = ..., globalPooling: _Optional[bool] = ...) -> None: ...

class InnerProductLayerParams(_message.Message):
    __slots__ = ("inputChannels", "outputChannels", "hasBias", "weights", "bias", "int8DynamicQuantize")
    INPUTCHANNELS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTCHANNELS_FIELD_NUMBER: _ClassVar[int]
    HASBIAS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    INT8DYNAMICQUANTIZE_FIELD_NUMBER: _ClassVar[int]
    inputChannels: int
    outputChannels: int
    hasBias: bool
    weights: WeightParams
    bias: WeightParams
    int8DynamicQuantize: bool
    def __init__(self, inputChannels: _Optional[int] = ..., outputChannels: _Optional[int] = ..., hasBias: _Optional[bool] = ..., weights: _Optional[_Union[WeightParams, _Mapping]] = ..., bias: _Optional[_Union[WeightParams, _Mapping]] = ..., int8DynamicQuantize: _Optional[bool] = ...) -> None: ...

class ActivationParams(_message.Message):
    __slots__ = ("linear", "ReLU", "leakyReLU", "thresholdedReLU", "PReLU", "tanh", "scaledTanh", "sigmoid", "sigmoidHard", "ELU", "softsign", "softplus", "parametricSoftplus")
    LINEAR_FIELD_NUMBER: _ClassVar[int]
    RELU_FIELD_NUMBER: _ClassVar[int]
    LEAKYRELU_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDEDRELU_FIELD_NUMBER: _ClassVar[int]
    PRELU_FIELD_NUMBER: _ClassVar[int]
    TANH_FIELD_NUMBER: _ClassVar[int]
    SCALEDTANH_FIELD_NUMBER: _ClassVar[int]
    SIGMOID_FIELD_NUMBER: _ClassVar[int]
    SIGMOIDHARD_FIELD_NUMBER: _ClassVar[int]
    ELU_FIELD_NUMBER: _ClassVar[int]
    SOFTSIGN_FIELD_NUMBER: _ClassVar[int]
    SOFTPLUS_FIELD_NUMBER: _ClassVar[int]
    PARAMETRICSOFTPLUS_FIELD_NUMBER: _ClassVar[int]
    linear: ActivationLinear
    ReLU: Unread
    leakyReLU: ActivationLeakyReLU
    thresholdedReLU: ActivationThresholdedReLU
    PReLU: ActivationPReLU
    tanh: Unread
    scaledTanh: ActivationScaledTanh
    sigmoid: Unread
    sigmoidHard: ActivationSigmoidHard
    ELU: ActivationELU
    softsign: Unread
    softplus: Unread
    parametricSoftplus: ActivationParametricSoftplus
    def __init__(self, linear: _Optional[_Union[ActivationLinear, _Mapping]] = ..., ReLU: _Optional[_Union[Unread, _Mapping]] = ..., leakyReLU: _Optional[_Union[ActivationLeakyReLU, _Mapping]] = ..., thresholdedReLU: _Optional[_Union[ActivationThresholdedReLU, _Mapping]] = ..., PReLU: _Optional[_Union[ActivationPReLU, _Mapping]] = ..., tanh: _Optional[_Union[Unread, _Mapping]] = ..., scaledTanh: _Optional[_Union[ActivationScaledTanh, _Mapping]] = ..., sigmoid: _Optional[_Union[Unread, _Mapping]] = ..., sigmoidHard: _Optional[_Union[ActivationSigmoidHard, _Mapping]] = ..., ELU: _Optional[_Union[ActivationELU, _Mapping]] = ..., softsign: _Optional[_Union[Unread, _Mapping]] = ..., softplus: _Optional[_Union[Unread, _Mapping]] = ..., parametricSoftplus: _Optional[_Union[ActivationParametricSoftplus, _Mapping]] = ...) -> None: ...

class ActivationLinear(_message.Message):
    __slots__ = ("alpha", "beta")
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    beta: float
    def __init__(self, alpha: _Optional[float] = ..., beta: _Optional[float] = ...) -> None: ...

class ActivationLeakyReLU(_message.Message):
    __slots__ = ("alpha",)
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    def __init__(self, alpha: _Optional[float] = ...) -> None: ...

class ActivationThresholdedReLU(_message.Message):
    __slots__ = ("alpha",)
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    def __init__(self, alpha: _Optional[float] = ...) -> None: ...

class ActivationScaledTanh(_message.Message):
    __slots__ = ("alpha", "beta")
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    beta: float
    def __init__(self, alpha: _Optional[float] = ..., beta: _Optional[float] = ...) -> None: ...

class ActivationSigmoidHard(_message.Message):
    __slots__ = ("alpha", "beta")
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    beta: float
    def __init__(self, alpha: _Optional[float] = ..., beta: _Optional[float] = ...) -> None: ...

class ActivationELU(_message.Message):
    __slots__ = ("alpha",)
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    def __init__(self, alpha: _Optional[float] = ...) -> None: ...

class ActivationPReLU(_message.Message):
    __slots__ = ("alpha",)
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    alpha: WeightParams
    def __init__(self, alpha: _Optional[_Union[WeightParams, _Mapping]] = ...) -> None: ...

class ActivationParametricSoftplus(_message.Message):
    __slots__ = ("alpha", "beta")
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    alpha: WeightParams
    beta: WeightParams
    def __init__(self, alpha: _Optional[_Union[WeightParams, _Mapping]] = ..., beta: _Optional[_Union[WeightParams, _Mapping]] = ...) -> None: ...

class FlattenLayerParams(_message.Message):
    __slots__ = ("mode",)
    class FlattenOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHANNEL_FIRST: _ClassVar[FlattenLayerParams.FlattenOrder]
        CHANNEL_LAST: _ClassVar[FlattenLayerParams.FlattenOrder]
    CHANNEL_FIRST: FlattenLayerParams.FlattenOrder
    CHANNEL_LAST: FlattenLayerParams.FlattenOrder
    MODE_FIELD_NUMBER: _ClassVar[int]
    mode: FlattenLayerParams.FlattenOrder
    def __init__(self, mode: _Optional[_Union[FlattenLayerParams.FlattenOrder, str]] = ...) -> None: ...

class ClipLayerParams(_message.Message):
    __slots__ = ("minVal", "maxVal")
    MINVAL_FIELD_NUMBER: _ClassVar[int]
    MAXVAL_FIELD_NUMBER: _ClassVar[int]
    minVal: float
    maxVal: float
    def __init__(self, minVal: _Optional[float] = ..., maxVal: _Optional[float] = ...) -> None: ...

class AddLayerParams(_message.Message):
    __slots__ = ("alpha",)
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    def __init__(self, alpha: _Optional[float] = ...) -> None: ...

class MultiplyLayerParams(_message.Message):
    __slots__ = ("alpha",)
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    def __init__(self, alpha: _Optional[float] = ...) -> None: ...

class EmbeddingLayerParams(_message.Message):
    __slots__ = ("inputDim", "outputChannels", "hasBias", "weights", "bias")
    INPUTDIM_FIELD_NUMBER: _ClassVar[int]
    OUTPUTCHANNELS_FIELD_NUMBER: _ClassVar[int]
    HASBIAS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    inputDim: int
    outputChannels: int
    hasBias: bool
    weights: WeightParams
    bias: WeightParams
    def __init__(self, inputDim: _Optional[int] = ..., outputChannels: _Optional[int] = ..., hasBias: _Optional[bool] = ..., weights: _Optional[_Union[WeightParams, _Mapping]] = ..., bias: _Optional[_Union[WeightParams, _Mapping]] = ...) -> None: ...

class BatchnormLayerParams(_message.Message):
    __slots__ = ("channels", "computeMeanVar", "instanceNormalization", "epsilon", "gamma", "beta", "mean", "variance")
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    COMPUTEMEANVAR_FIELD_NUMBER: _ClassVar[int]
    INSTANCENORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    GAMMA_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    VARIANCE_FIELD_NUMBER: _ClassVar[int]
    channels: int
    computeMeanVar: bool
    instanceNormalization: bool
    epsilon: float
    gamma: WeightParams
    beta: WeightParams
    mean: WeightParams
    variance: WeightParams
    def __init__(self, channels: _Optional[int] = ..., computeMeanVar: _Optional[bool] = ..., instanceNormalization: _Optional[bool] = ..., epsilon: _Optional[float] = ..., gamma: _Optional[_Union[WeightParams, _Mapping]] = ..., beta: _Optional[_Union[WeightParams, _Mapping]] = ..., mean: _Optional[_Union[WeightParams, _Mapping]] = ..., variance: _Optional[_Union[WeightParams, _Mapping]] = ...) -> None: ...

class ScaleLayerParams(_message.Message):
    __slots__ = ("shapeScale", "scale", "hasBias", "shapeBias", "bias")
    SHAPESCALE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    HASBIAS_FIELD_NUMBER: _ClassVar[int]
    SHAPEBIAS_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    shapeScale: _containers.RepeatedScalarFieldContainer[int]
    scale: WeightParams
    hasBias: bool
    shapeBias: _containers.RepeatedScalarFieldContainer[int]
    bias: WeightParams
    def __init__(self, shapeScale: _Optional[_Iterable[int]] = ..., scale: _Optional[_Union[WeightParams, _Mapping]] = ..., hasBias: _Optional[bool] = ..., shapeBias: _Optional[_Iterable[int]] = ..., bias: _Optional[_Union[WeightParams, _Mapping]] = ...) -> None: ...

class BiasLayerParams(_message.Message):
    __slots__ = ("shape", "bias")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    bias: WeightParams
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., bias: _Optional[_Union[WeightParams, _Mapping]] = ...) -> None: ...

class L2NormalizeLayerParams(_message.Message):
    __slots__ = ("epsilon",)
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    epsilon: float
    def __init__(self, epsilon: _Optional[float] = ...) -> None: ...

class LRNLayerParams(_message.Message):
    __slots__ = ("alpha", "beta", "localSize", "k")
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    BETA_FIELD_NUMBER: _ClassVar[int]
    LOCALSIZE_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    alpha: float
    beta: float
    localSize: int
    k: float
    def __init__(self, alpha: _Optional[float] = ..., beta: _Optional[float] = ..., localSize: _Optional[int] = ..., k: _Optional[float] = ...) -> None: ...

class UnaryFunctionLayerParams(_message.Message):
    __slots__ = ("type", "alpha", "epsilon", "shift", "scale")
    class Operation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SQRT: _ClassVar[UnaryFunctionLayerParams.Operation]
        RSQRT: _ClassVar[UnaryFunctionLayerParams.Operation]
        INVERSE: _ClassVar[UnaryFunctionLayerParams.Operation]
        POWER: _ClassVar[UnaryFunctionLayerParams.Operation]
        EXP: _ClassVar[UnaryFunctionLayerParams.Operation]
        LOG: _ClassVar[UnaryFunctionLayerParams.Operation]
        ABS: _ClassVar[UnaryFunctionLayerParams.Operation]
        THRESHOLD: _ClassVar[UnaryFunctionLayerParams.Operation]
    SQRT: UnaryFunctionLayerParams.Operation
    RSQRT: UnaryFunctionLayerParams.Operation
    INVERSE: UnaryFunctionLayerParams.Operation
    POWER: UnaryFunctionLayerParams.Operation
    EXP: UnaryFunctionLayerParams.Operation
    LOG: UnaryFunctionLayerParams.Operation
    ABS: UnaryFunctionLayerParams.Operation
    THRESHOLD: UnaryFunctionLayerParams.Operation
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    type: UnaryFunctionLayerParams.Operation
    alpha: float
    epsilon: float
    shift: float
    scale: float
    def __init__(self, type: _Optional[_Union[UnaryFunctionLayerParams.Operation, str]] = ..., alpha: _Optional[float] = ..., epsilon: _Optional[float] = ..., shift: _Optional[float] = ..., scale: _Optional[float] = ...) -> None: ...

class ReduceLayerParams(_message.Message):
    __slots__ = ("mode", "epsilon", "axis")
    class ReduceOperation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SUM: _ClassVar[ReduceLayerParams.ReduceOperation]
        AVG: _ClassVar[ReduceLayerParams.ReduceOperation]
        PROD: _ClassVar[ReduceLayerParams.ReduceOperation]
        LOGSUM: _ClassVar[ReduceLayerParams.ReduceOperation]
        SUMSQUARE: _ClassVar[ReduceLayerParams.ReduceOperation]
        L1: _ClassVar[ReduceLayerParams.ReduceOperation]
        L2: _ClassVar[ReduceLayerParams.ReduceOperation]
        MAX: _ClassVar[ReduceLayerParams.ReduceOperation]
        MIN: _ClassVar[ReduceLayerParams.ReduceOperation]
        ARGMAX: _ClassVar[ReduceLayerParams.ReduceOperation]
    SUM: ReduceLayerParams.ReduceOperation
    AVG: ReduceLayerParams.ReduceOperation
    PROD: ReduceLayerParams.ReduceOperation
    LOGSUM: ReduceLayerParams.ReduceOperation
    SUMSQUARE: ReduceLayerParams.ReduceOperation
    L1: ReduceLayerParams.ReduceOperation
    L2: ReduceLayerParams.ReduceOperation
    MAX: ReduceLayerParams.ReduceOperation
    MIN: ReduceLayerParams.ReduceOperation
    ARGMAX: ReduceLayerParams.ReduceOperation
    class ReduceAxis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHW: _ClassVar[ReduceLayerParams.ReduceAxis]
        HW: _ClassVar[ReduceLayerParams.ReduceAxis]
        C: _ClassVar[ReduceLayerParams.ReduceAxis]
        H: _ClassVar[ReduceLayerParams.ReduceAxis]
        W: _ClassVar[ReduceLayerParams.ReduceAxis]
    CHW: ReduceLayerParams.ReduceAxis
    HW: ReduceLayerParams.ReduceAxis
    C: ReduceLayerParams.ReduceAxis
    H: ReduceLayerParams.ReduceAxis
    W: ReduceLayerParams.ReduceAxis
    MODE_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    mode: ReduceLayerParams.ReduceOperation
    epsilon: float
    axis: ReduceLayerParams.ReduceAxis
    def __init__(self, mode: _Optional[_Union[ReduceLayerParams.ReduceOperation, str]] = ..., epsilon: _Optional[float] = ..., axis: _Optional[_Union[ReduceLayerParams.ReduceAxis, str]] = ...) -> None: ...

class ReshapeLayerParams(_message.Message):
    __slots__ = ("targetShape", "mode")
    class ReshapeOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHANNEL_FIRST: _ClassVar[ReshapeLayerParams.ReshapeOrder]
        CHANNEL_LAST: _ClassVar[ReshapeLayerParams.ReshapeOrder]
    CHANNEL_FIRST: ReshapeLayerParams.ReshapeOrder
    CHANNEL_LAST: ReshapeLayerParams.ReshapeOrder
    TARGETSHAPE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    targetShape: _containers.RepeatedScalarFieldContainer[int]
    mode: ReshapeLayerParams.ReshapeOrder
    def __init__(self, targetShape: _Optional[_Iterable[int]] = ..., mode: _Optional[_Union[ReshapeLayerParams.ReshapeOrder, str]] = ...) -> None: ...

class PermuteLayerParams(_message.Message):
    __slots__ = ("axis",)
    AXIS_FIELD_NUMBER: _ClassVar[int]
    axis: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, axis: _Optional[_Iterable[int]] = ...) -> None: ...

class ConcatLayerParams(_message.Message):
    __slots__ = ("sequenceConcat",)
    SEQUENCECONCAT_FIELD_NUMBER: _ClassVar[int]
    sequenceConcat: bool
    def __init__(self, sequenceConcat: _Optional[bool] = ...) -> None: ...

class PaddingLayerParams(_message.Message):
    __slots__ = ("constant", "reflection", "replication", "paddingAmounts")
    class PaddingConstant(_message.Message):
        __slots__ = ("value",)
        VALUE_FIELD_NUMBER: _ClassVar[int]
        value: float
        def __init__(self, value: _Optional[float] = ...) -> None: ...
    class PaddingReflection(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class PaddingReplication(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    REFLECTION_FIELD_NUMBER: _ClassVar[int]
    REPLICATION_FIELD_NUMBER: _ClassVar[int]
    PADDINGAMOUNTS_FIELD_NUMBER: _ClassVar[int]
    constant: PaddingLayerParams.PaddingConstant
    reflection: PaddingLayerParams.PaddingReflection
    replication: PaddingLayerParams.PaddingReplication
    paddingAmounts: BorderAmounts
    def __init__(self, constant: _Optional[_Union[PaddingLayerParams.PaddingConstant, _Mapping]] = ..., reflection: _Optional[_Union[PaddingLayerParams.PaddingReflection, _Mapping]] = ..., replication: _Optional[_Union[PaddingLayerParams.PaddingReplication, _Mapping]] = ..., paddingAmounts: _Optional[_Union[BorderAmounts, _Mapping]] = ...) -> None: ...

class UpsampleLayerParams(_message.Message):
    __slots__ = ("scalingFactor", "mode", "linearUpsampleMode", "fractionalScalingFactor")
    class InterpolationMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NN: _ClassVar[UpsampleLayerParams.InterpolationMode]
        BILINEAR: _ClassVar[UpsampleLayerParams.InterpolationMode]
    NN: UpsampleLayerParams.InterpolationMode
    BILINEAR: UpsampleLayerParams.InterpolationMode
    class LinearUpsampleMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DEFAULT: _ClassVar[UpsampleLayerParams.LinearUpsampleMode]
        ALIGN_CORNERS_TRUE: _ClassVar[UpsampleLayerParams.LinearUpsampleMode]
        ALIGN_CORNERS_FALSE: _ClassVar[UpsampleLayerParams.LinearUpsampleMode]
    DEFAULT: UpsampleLayerParams.LinearUpsampleMode
    ALIGN_CORNERS_TRUE: UpsampleLayerParams.LinearUpsampleMode
    ALIGN_CORNERS_FALSE: UpsampleLayerParams.LinearUpsampleMode
    SCALINGFACTOR_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    LINEARUPSAMPLEMODE_FIELD_NUMBER: _ClassVar[int]
    FRACTIONALSCALINGFACTOR_FIELD_NUMBER: _ClassVar[int]
    scalingFactor: _containers.RepeatedScalarFieldContainer[int]
    mode: UpsampleLayerParams.InterpolationMode
    linearUpsampleMode: UpsampleLayerParams.LinearUpsampleMode
    fractionalScalingFactor: bytes
    def __init__(self, scalingFactor: _Optional[_Iterable[int]] = ..., mode: _Optional[_Union[UpsampleLayerParams.InterpolationMode, str]] = ..., linearUpsampleMode: _Optional[_Union[UpsampleLayerParams.LinearUpsampleMode, str]] = ..., fractionalScalingFactor: _Optional[bytes] = ...) -> None: ...

class CropLayerParams(_message.Message):
    __slots__ = ("cropAmounts", "offset")
    CROPAMOUNTS_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    cropAmounts: BorderAmounts
    offset: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, cropAmounts: _Optional[_Union[BorderAmounts, _Mapping]] = ..., offset: _Optional[_Iterable[int]] = ...) -> None: ...

class SliceLayerParams(_message.Message):
    __slots__ = ("startIndex", "endIndex", "stride", "axis")
    class SliceAxis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHANNEL_AXIS: _ClassVar[SliceLayerParams.SliceAxis]
        HEIGHT_AXIS: _ClassVar[SliceLayerParams.SliceAxis]
        WIDTH_AXIS: _ClassVar[SliceLayerParams.SliceAxis]
    CHANNEL_AXIS: SliceLayerParams.SliceAxis
    HEIGHT_AXIS: SliceLayerParams.SliceAxis
    WIDTH_AXIS: SliceLayerParams.SliceAxis
    STARTINDEX_FIELD_NUMBER: _ClassVar[int]
    ENDINDEX_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    AXIS_FIELD_NUMBER: _ClassVar[int]
    startIndex: int
    endIndex: int
    stride: int
    axis: SliceLayerParams.SliceAxis
    def __init__(self, startIndex: _Optional[int] = ..., endIndex: _Optional[int] = ..., stride: _Optional[int] = ..., axis: _Optional[_Union[SliceLayerParams.SliceAxis, str]] = ...) -> None: ...
