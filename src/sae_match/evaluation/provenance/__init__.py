"""Where does a feature come from? What a layer's attention and MLP add, held against what its features are."""
